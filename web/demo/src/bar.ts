import type { Chat } from "./chat.js";
import { h, icon, time } from "./dom.js";
import { kind, link, role } from "./params.js";
import { isOffline, onTraffic, setOffline, type Traffic } from "./wire.js";

/** The strip above the page that belongs to the demo and not to the shop. */
export function bar(chat: Chat): HTMLElement {
  const variable = h("code", { class: "variable" });
  const drawVariable = () => variable.replaceChildren("status = ", h("b", {}, `"${chat.status}"`));
  chat.addEventListener("change", drawVariable);
  drawVariable();

  const offline = h("button", { type: "button", class: "switch", role: "switch", "aria-checked": "false" }, h("span", { class: "knob" }), "Go offline");
  offline.addEventListener("click", () => {
    setOffline(!isOffline());
    offline.setAttribute("aria-checked", String(isOffline()));
  });

  const { drawer, toggle } = frames();
  const wire = h("button", { type: "button", class: "tool", "aria-expanded": "false", "aria-controls": drawer.id }, icon("code"), "Frames");
  wire.addEventListener("click", () => {
    const shown = toggle();
    wire.setAttribute("aria-expanded", String(shown));
    document.body.classList.toggle("with-frames", shown);
  });
  document.body.append(drawer);

  const choice = (text: string, href: string, chosen: boolean) => h("a", { href, "aria-current": chosen && "page" }, text);
  return h(
    "header",
    { class: "bar" },
    h("a", { class: "product", href: link({}), "aria-label": "Fanfare demo" }, h("img", { src: "icon.svg", alt: "", width: 22, height: 22 }), h("span", {}, "Fanfare demo")),
    h(
      "nav",
      { class: "choice", "aria-label": "View" },
      choice("Visitor", link({ role: "visitor" }), role === "visitor"),
      choice("Agent", link({ role: "agent" }), role === "agent"),
    ),
    h(
      "a",
      { class: "tool wide", href: link({ role: role === "agent" ? "visitor" : "agent" }), target: "_blank" },
      icon("window"),
      role === "agent" ? "Open a visitor beside it" : "Open an agent beside it",
    ),
    h(
      "nav",
      { class: "choice", "aria-label": "Client" },
      choice("Fanfare client", link({ client: "fanfare" }), kind === "fanfare"),
      choice("Xano SDK", link({ client: "xano" }), kind === "xano"),
    ),
    h("span", { class: "gap" }),
    variable,
    offline,
    wire,
    h("button", { type: "button", class: "tool bare", "aria-label": "Light or dark", onclick: switchTheme }, icon("theme")),
  );
}

const remembered = 100;

/** What goes over the socket, as it is. It is drawn only while it is shown. */
function frames(): { drawer: HTMLElement; toggle(): boolean } {
  const log: Traffic[] = [];
  const list = h("ol", { tabIndex: 0, "aria-label": "Frames" });
  const add = ({ direction, text, at }: Traffic) => {
    const sign = { in: "←", out: "→", note: "·" }[direction];
    list.append(h("li", { class: direction }, h("time", {}, time(at)), h("span", {}, sign), h("code", {}, text)));
    if (list.children.length > remembered) list.firstElementChild!.remove();
    list.scrollTop = list.scrollHeight;
  };
  const drawer = h("section", { class: "frames", id: "frames", "aria-label": "Frames on the socket", hidden: true }, h("h2", {}, "Frames on the socket"), list);
  onTraffic((traffic) => {
    log.push(traffic);
    if (log.length > remembered) log.shift();
    if (!drawer.hidden) add(traffic);
  });
  const toggle = () => {
    drawer.hidden = !drawer.hidden;
    list.replaceChildren();
    if (!drawer.hidden) log.forEach(add);
    return !drawer.hidden;
  };
  return { drawer, toggle };
}

export function restoreTheme(): void {
  const theme = localStorage.getItem("demo.theme");
  if (theme) document.documentElement.dataset.theme = theme;
}

function switchTheme(): void {
  const now = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("demo.theme", next);
}
