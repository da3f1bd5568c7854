type Child = Node | string | null | undefined | false;
type Props = Record<string, unknown>;

/** Makes an element. Text is always text; `on…` are listeners, `class` and `aria-…` attributes, the rest properties. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else if (name in element && name !== "role" && name !== "list" && name !== "popover") (element as any)[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
  return element;
}

const paths = {
  chat: "M4 5.5A2.5 2.5 0 0 1 6.5 3h11A2.5 2.5 0 0 1 20 5.5v8a2.5 2.5 0 0 1-2.5 2.5H11l-5 4.5V16A2 2 0 0 1 4 14z",
  close: "M6 6l12 12M18 6L6 18",
  send: "M4.5 12h13M12 5.5l6.5 6.5-6.5 6.5",
  leave: "M10 4H6.5A1.5 1.5 0 0 0 5 5.5v13A1.5 1.5 0 0 0 6.5 20H10M10 12h10M16 8l4 4-4 4",
  lock: "M6.5 11h11v8.5h-11zM9 11V8a3 3 0 0 1 6 0v3",
  clock: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.2l2.8 1.8",
  check: "M5 12.5l4.5 4.5L19 7.5",
  alert: "M12 4l9 15.5H3zM12 10v4M12 16.8v.4",
  theme: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  code: "M9 7l-5 5 5 5M15 7l5 5-5 5",
  people: "M9 11a3.2 3.2 0 1 0 0-6.4A3.2 3.2 0 0 0 9 11zM3.5 19.5c0-3 2.4-5 5.5-5s5.5 2 5.5 5M15.5 5a3 3 0 0 1 0 5.8M17 14.8c2.1.6 3.5 2.3 3.5 4.7",
  bell: "M6.5 16.5V11a5.5 5.5 0 0 1 11 0v5.5l1.5 1.5H5zM10 20.2a2.2 2.2 0 0 0 4 0",
  window: "M4 5.5h16v13H4zM4 9.5h16",
  back: "M14.5 5.5L8 12l6.5 6.5",
} as const;

export type Icon = keyof typeof paths;

export function icon(name: Icon): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", paths[name]);
  svg.append(path);
  return svg;
}

/** A round picture made of the name's initials; the colour is always the same for the same name. */
export function avatar(name: string, role: string): HTMLElement {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)!) % 997;
  const initials = name.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? "").join("").toUpperCase() || "?";
  return h("span", { class: `avatar tone-${role === "agent" ? "team" : sum % 6}`, "aria-hidden": "true" }, initials);
}

export function time(at: number): string {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}
