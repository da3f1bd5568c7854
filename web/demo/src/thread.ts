import type { Chat, Message, Person } from "./chat.js";
import { avatar, h, icon, time } from "./dom.js";

/** The messages, kept in step with the chat: an element is made anew only when what it shows has changed. */
export function thread(chat: Chat, empty: HTMLElement): HTMLElement {
  const list = h("ol", { class: "messages" });
  const typing = h("p", { class: "typing" });
  // A log is read out as it grows.
  const log = h("div", { class: "thread", role: "log", "aria-label": "Conversation", tabIndex: 0 }, empty, list, typing);
  const drawn = new Map<string, { signature: string; element: HTMLElement }>();

  const draw = () => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    empty.hidden = chat.messages.length > 0;
    let previous: Message | undefined;
    const keep = new Set<string>();
    chat.messages.forEach((message, index) => {
      const day = !previous || new Date(previous.at).toDateString() !== new Date(message.at).toDateString();
      const grouped = !day && previous !== undefined && groups(previous, message);
      const next = chat.messages[index + 1];
      const last = !next || !groups(message, next);
      const signature = [message.state, message.why, day, grouped, last].join();
      const known = drawn.get(message.key);
      let element = known?.element;
      if (!element || known!.signature !== signature) {
        const made = bubble(chat, message, { day, grouped, last, fresh: !known });
        if (element) element.replaceWith(made);
        element = made;
        drawn.set(message.key, { signature, element });
      }
      if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
      keep.add(message.key);
      previous = message;
    });
    for (const [key, { element }] of drawn) {
      if (keep.has(key)) continue;
      element.remove();
      drawn.delete(key);
    }
    drawTyping(typing, chat.link?.state === "connected" ? chat.people : []);
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  chat.addEventListener("change", draw);
  new ResizeObserver(() => (log.scrollTop = log.scrollHeight)).observe(log);
  draw();
  return log;
}

function groups(a: Message, b: Message): boolean {
  return a.kind === b.kind && a.kind !== "event" && a.name === b.name && a.mine === b.mine && a.role === b.role && b.at - a.at < 180_000;
}

function bubble(chat: Chat, message: Message, look: { day: boolean; grouped: boolean; last: boolean; fresh: boolean }): HTMLElement {
  const classes = ["message", message.mine ? "mine" : "theirs", message.role, message.kind, message.state];
  if (look.grouped) classes.push("grouped");
  if (look.last) classes.push("last");
  if (look.fresh) classes.push("fresh");
  const day = look.day && h("p", { class: "day" }, new Date(message.at).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" }));
  if (message.kind === "event") {
    return h("li", { class: classes.join(" ") }, day, h("p", { class: "announcement" }, icon("bell"), message.text));
  }
  const note = message.kind === "note";
  const who = message.mine ? "You" : message.name;
  return h(
    "li",
    { class: classes.join(" ") },
    day,
    !look.grouped &&
      h(
        "p",
        { class: "who" },
        h("b", {}, who),
        message.role === "agent" && !message.mine && h("span", { class: "badge" }, "Team"),
        note && h("span", { class: "private" }, icon("lock"), message.mine ? `Private, to ${message.to}` : "Private, only you see this"),
      ),
    h("div", { class: "row" }, !message.mine && avatar(message.name, message.role), h("p", { class: "bubble" }, message.text)),
    (look.last || message.state !== "sent") && state(chat, message),
  );
}

function state(chat: Chat, message: Message): HTMLElement {
  const parts: (Node | string | false)[] = [time(message.at)];
  if (message.state === "waiting") parts.push(icon("clock"), "Waiting to be sent");
  else if (message.state === "failed") {
    parts.push(
      icon("alert"),
      message.why || "Not sent",
      h("button", { type: "button", class: "text", onclick: () => chat.retry(message) }, "Try again"),
    );
  } else if (message.mine) parts.push(icon("check"), h("span", { class: "unseen" }, "Sent"));
  return h("p", { class: "state" }, ...parts);
}

function drawTyping(line: HTMLElement, people: Person[]): void {
  const names = people.filter((person) => person.typing && !person.me).map((person) => person.name);
  line.hidden = names.length === 0;
  if (!names.length) return line.replaceChildren();
  const text = names.length > 2 ? "Several people are typing" : names.join(" and ") + (names.length > 1 ? " are typing" : " is typing");
  if (line.textContent !== text) line.replaceChildren(h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")), text);
}

/** The field to write in. Enter sends, Shift and Enter make a line. */
export function composer(chat: Chat, label: string, send: (text: string) => void): { form: HTMLFormElement; field: HTMLTextAreaElement } {
  const field = h("textarea", { rows: 1, maxLength: 2000, placeholder: label, "aria-label": label, enterKeyHint: "send", autocomplete: "off" });
  const button = h("button", { type: "submit", class: "send", "aria-label": "Send" }, icon("send"));
  const submit = () => {
    if (!field.value.trim()) return;
    send(field.value);
    field.value = "";
    fit();
  };
  const fit = () => {
    field.style.height = "auto";
    field.style.height = Math.min(field.scrollHeight, 140) + "px";
    button.disabled = !field.value.trim();
  };
  field.addEventListener("input", () => {
    fit();
    if (field.value.trim()) chat.typing();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  const form = h("form", { class: "composer", onsubmit: (event: Event) => (event.preventDefault(), submit(), field.focus()) }, field, button);
  button.disabled = true;
  return { form, field };
}

/** How the connection is, in words. */
export function statusLine(chat: Chat): HTMLElement {
  const dot = h("span", { class: "dot", "aria-hidden": "true" });
  const text = h("span", {});
  const line = h("p", { class: "status", role: "status" }, dot, text);
  const draw = () => {
    const [look, words] = describe(chat);
    line.dataset.look = look;
    if (text.textContent !== words) text.textContent = words;
  };
  chat.addEventListener("change", draw);
  window.setInterval(() => chat.retryAt && draw(), 500);
  draw();
  return line;
}

function describe(chat: Chat): [string, string] {
  if (chat.status === "idle") return ["off", "Not connected"];
  if (chat.status === "left") return ["off", "You left the chat"];
  const waiting = chat.waiting ? `, ${chat.waiting} waiting` : "";
  switch (chat.link?.state) {
    case "connected": {
      const team = chat.people.filter((person) => person.role === "agent").length;
      return ["on", `${chat.people.length} online${chat.role === "visitor" && team ? `, ${team} from our team` : ""}${waiting}`];
    }
    case "waiting": {
      const seconds = Math.max(0, Math.ceil((chat.retryAt - Date.now()) / 1000));
      return ["away", "Offline" + waiting + (chat.retryAt ? `, retry in ${seconds} s` : ", trying again")];
    }
    case "ended":
      return ["off", "The server ended the connection"];
    default:
      return ["away", "Connecting" + waiting];
  }
}
