import type { Chat } from "./chat.js";
import { avatar, h, icon } from "./dom.js";
import { memory } from "./params.js";
import { composer, statusLine, thread } from "./thread.js";

/** The shop's page is in index.html; here is the chat on it: a button in the corner and the panel it opens. */
export function visitor(chat: Chat): void {
  document.title = "Fernwood, plants that live";
  const count = h("span", { class: "count" });
  const launcher = h(
    "button",
    { type: "button", class: "launcher", "aria-haspopup": "dialog", "aria-expanded": "false" },
    icon("chat"),
    h("span", { class: "label" }, "Chat with us"),
    count,
  );
  const panel = h("section", { class: "panel", role: "dialog", "aria-label": "Chat with Fernwood" });
  panel.hidden = true;
  document.body.append(panel, launcher);

  const faces = h("span", { class: "faces", "aria-hidden": "true" });
  const leave = h("button", { type: "button", class: "tool bare", "aria-label": "Leave the chat", title: "Leave the chat", onclick: () => chat.leave() }, icon("leave"));
  const shut = h("button", { type: "button", class: "tool bare", "aria-label": "Close the panel", title: "Close", onclick: () => show(false) }, icon("close"));
  const body = h("div", { class: "body" });
  panel.append(
    h("header", {}, faces, h("div", { class: "heading" }, h("h2", {}, "Plant help"), statusLine(chat)), leave, shut),
    h("p", { class: "problem", role: "alert", hidden: true }),
    body,
  );

  const show = (open: boolean) => {
    panel.hidden = !open;
    document.body.classList.toggle("chatting", open);
    launcher.setAttribute("aria-expanded", String(open));
    chat.watched = open && document.visibilityState === "visible";
    memory.set("panel", open ? "open" : "");
    if (open) {
      chat.read();
      focus();
    } else {
      launcher.focus();
    }
  };
  const focus = () => body.querySelector<HTMLElement>("textarea, input, button")?.focus();
  launcher.addEventListener("click", () => show(Boolean(panel.hidden)));
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(false);
  });
  document.addEventListener("visibilitychange", () => {
    chat.watched = !panel.hidden && document.visibilityState === "visible";
    if (chat.watched) chat.read();
  });
  for (const link of document.querySelectorAll<HTMLElement>("[data-chat]")) link.addEventListener("click", () => show(true));

  // Three faces: not known yet, talking, left.
  let face = "";
  const draw = () => {
    count.textContent = chat.unread ? String(chat.unread) : "";
    count.hidden = !chat.unread;
    launcher.setAttribute("aria-label", chat.unread ? `Chat with us, ${chat.unread} unread` : "Chat with us");
    document.title = (chat.unread ? `(${chat.unread}) ` : "") + "Fernwood, plants that live";
    const team = chat.people.filter((person) => person.role === "agent").slice(0, 3);
    faces.replaceChildren(...(team.length ? team.map((person) => avatar(person.name, "agent")) : [h("span", { class: "avatar tone-team" }, icon("chat"))]));
    const problem = panel.querySelector<HTMLElement>(".problem")!;
    problem.hidden = !chat.error;
    if (problem.textContent !== chat.error) problem.textContent = chat.error;
    const now = chat.status === "idle" ? "new" : chat.status === "left" ? "left" : "talk";
    leave.hidden = now !== "talk";
    if (now === face) return;
    face = now;
    body.replaceChildren(...(now === "new" ? [hello(chat)] : now === "left" ? [goodbye(chat)] : talk(chat)));
    if (!panel.hidden) focus();
  };
  chat.addEventListener("change", draw);
  draw();

  const looking = () => chat.visit(location.hash === "#care" ? "Care guide" : location.hash === "#plants" ? "Plants" : "Home");
  window.addEventListener("hashchange", looking);
  looking();
  // A reload is no reason to leave.
  if (chat.name && memory.get("status") === "connected") chat.open();
  chat.addEventListener("change", () => memory.set("status", chat.status === "left" || chat.status === "idle" ? chat.status : "connected"));
  if (memory.get("panel")) show(true);
}

function hello(chat: Chat): HTMLElement {
  const name = h("input", { id: "name", required: true, maxLength: 40, autocomplete: "given-name", value: chat.name });
  return h(
    "form",
    {
      class: "hello",
      onsubmit: (event: Event) => {
        event.preventDefault();
        chat.name = name.value.trim() || "Guest";
        memory.set("name", chat.name);
        chat.open();
      },
    },
    h("h3", {}, "Something the matter with your plant?"),
    h("p", {}, "Ask our growers. Other plant people are here too, and everyone can read along."),
    h("label", { htmlFor: "name" }, "What may we call you?"),
    name,
    h("button", { type: "submit", class: "primary" }, "Start chatting"),
    h("p", { class: "small" }, "Please keep order numbers out of the chat; we will ask for them in private."),
  );
}

function goodbye(chat: Chat): HTMLElement {
  return h(
    "div",
    { class: "hello" },
    h("h3", {}, "You have left the chat"),
    h("p", {}, "Nobody sees you here any more, and nothing reaches you. The conversation waits where you left it."),
    h("button", { type: "button", class: "primary", onclick: () => chat.open() }, "Come back"),
  );
}

function talk(chat: Chat): HTMLElement[] {
  const empty = h("p", { class: "empty" }, "Nobody has written yet. What would you like to know?");
  return [thread(chat, empty), composer(chat, "Write a message", (text) => chat.say(text)).form];
}
