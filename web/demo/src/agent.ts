import type { Chat, Person } from "./chat.js";
import { avatar, h, icon, time } from "./dom.js";
import { memory } from "./params.js";
import { composer, statusLine, thread } from "./thread.js";

const replies = {
  Greeting: "Hello, and thank you for writing. Which plant is it, and where does it stand?",
  "Ask about the leaves": "Could you describe the leaves: yellow, brown at the tips, or soft?",
  Watering: "Let the top three centimetres of the soil dry out before you water again.",
};

/** The desk of the shop's people: who is here, the conversation, and the person one has chosen. */
export function agent(chat: Chat): void {
  document.title = "Fernwood desk";
  document.querySelector("#shop")?.remove();
  let chosen = "";

  const name = h("input", {
    class: "own-name",
    value: chat.name,
    maxLength: 40,
    "aria-label": "Your name",
    onchange: () => {
      chat.name = name.value.trim() || chat.name;
      name.value = chat.name;
      memory.set("agent", chat.name);
      face.replaceChildren(avatar(chat.name, "agent"));
      chat.visit("Desk");
    },
  });
  const face = h("span", {}, avatar(chat.name, "agent"));
  const team = h("ul", { class: "people" });
  const visitors = h("ul", { class: "people" });
  const visitorCount = h("span", { class: "number" });
  const aside = h("aside", { class: "details", "aria-label": "About this person" });

  const { form, field } = composer(chat, "Write to everyone", (text) => {
    const person = chosenPerson();
    if (aim.checked && person) chat.note(text, person);
    else chat.say(text);
  });
  const aim = h("input", { type: "checkbox", id: "aim", onchange: () => drawAim() });
  const aimLabel = h("label", { htmlFor: "aim", class: "aim" }, aim, icon("lock"), h("span", {}));
  const chips = h(
    "div",
    { class: "replies", role: "group", "aria-label": "Ready replies" },
    ...Object.entries(replies).map(([title, text]) =>
      h(
        "button",
        {
          type: "button",
          onclick: () => {
            field.value = text;
            field.dispatchEvent(new Event("input"));
            field.focus();
          },
        },
        title,
      ),
    ),
  );
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const empty = h("p", { class: "empty" }, "No conversation yet. Open the visitor’s page beside this one and write something.");
  const leave = h("button", { type: "button", class: "tool", onclick: () => (chat.status === "left" ? chat.open() : chat.leave()) }, icon("leave"), h("span", {}));

  document.body.append(
    h(
      "main",
      { class: "desk" },
      h(
        "nav",
        { class: "side", "aria-label": "Who is online" },
        h("p", { class: "brand" }, h("span", { class: "leaf", "aria-hidden": "true" }), "Fernwood desk"),
        h("div", { class: "own" }, face, h("div", {}, name, statusLine(chat))),
        h("h2", {}, "Visitors ", visitorCount),
        visitors,
        h("h2", {}, "Team"),
        team,
      ),
      h(
        "section",
        { class: "talk", "aria-label": "Plant help" },
        h("header", {}, h("div", {}, h("h1", {}, "Plant help"), h("p", { class: "sub" }, "Everyone on the shop’s site who opened the chat")), leave),
        problem,
        thread(chat, empty),
        h("div", { class: "write" }, aimLabel, chips, form),
      ),
      aside,
    ),
  );

  const chosenPerson = () => chat.people.find((person) => person.id === chosen && !person.me);
  const choose = (person: Person | undefined) => {
    chosen = person?.id ?? "";
    aim.checked = false;
    draw();
  };

  const drawAim = () => {
    const person = chosenPerson();
    aimLabel.hidden = !person;
    aimLabel.querySelector("span")!.textContent = person ? `Private note: only ${person.name} sees it` : "";
    const isPrivate = aim.checked && person;
    form.classList.toggle("aside", Boolean(isPrivate));
    field.placeholder = isPrivate ? `Write to ${person.name} alone` : "Write to everyone";
    field.setAttribute("aria-label", field.placeholder);
  };

  let signature = "";
  const draw = () => {
    problem.hidden = !chat.error;
    if (problem.textContent !== chat.error) problem.textContent = chat.error;
    leave.querySelector("span")!.textContent = chat.status === "left" ? "Come back" : "Leave";
    const next = JSON.stringify([chat.people, chosen]);
    if (next === signature) return;
    signature = next;
    const guests = chat.people.filter((person) => person.role === "visitor");
    visitorCount.textContent = String(guests.length);
    const focused = (document.activeElement as HTMLElement | null)?.dataset?.person;
    visitors.replaceChildren(
      ...(guests.length ? guests.map((person) => row(person, person.id === chosen, choose)) : [h("li", { class: "nobody" }, "Nobody is here.")]),
    );
    team.replaceChildren(...chat.people.filter((person) => person.role === "agent").map((person) => row(person, person.id === chosen, choose)));
    if (focused) document.querySelector<HTMLElement>(`[data-person="${CSS.escape(focused)}"]`)?.focus();
    details(aside, chosenPerson(), choose, () => {
      aim.checked = true;
      aside.classList.remove("open");
      drawAim();
      field.focus();
    });
    drawAim();
  };
  chat.addEventListener("change", draw);
  draw();
  chat.visit("Desk");
  chat.open();
  field.focus();
}

function row(person: Person, chosen: boolean, choose: (person: Person | undefined) => void): HTMLElement {
  const sub = person.typing ? "typing" : (person.page ?? (person.role === "agent" ? "Desk" : "on the site"));
  const face = [avatar(person.name, person.role), h("span", { class: "lines" }, h("b", {}, person.name + (person.me ? " (you)" : "")), h("small", {}, sub))];
  if (person.me) return h("li", {}, h("div", { class: "person" }, ...face));
  const button = h(
    "button",
    { type: "button", class: "person", "aria-pressed": String(chosen), onclick: () => choose(chosen ? undefined : person) },
    ...face,
    h("span", { class: "here", "aria-hidden": "true" }),
  );
  button.dataset.person = person.id;
  return h("li", {}, button);
}

function details(aside: HTMLElement, person: Person | undefined, choose: (person: undefined) => void, note: () => void): void {
  aside.classList.toggle("open", Boolean(person));
  if (!person) {
    aside.replaceChildren(h("p", { class: "nobody" }, "Choose somebody on the left to see more, or to write in private."));
    return;
  }
  const fact = (term: string, value: string | undefined) => (value ? [h("dt", {}, term), h("dd", {}, value)] : []);
  aside.replaceChildren(
    h("button", { type: "button", class: "tool bare back", "aria-label": "Back", onclick: () => choose(undefined) }, icon("back")),
    avatar(person.name, person.role),
    h("h2", {}, person.name),
    h("p", { class: "sub" }, person.role === "agent" ? "Fernwood team" : "Visitor"),
    h(
      "dl",
      {},
      ...fact("Looks at", person.page),
      ...fact("Here since", person.since ? time(person.since) : undefined),
      ...fact("Connection", person.id.slice(0, 8) + "…"),
    ),
    h("button", { type: "button", class: "primary", onclick: note }, icon("lock"), "Write in private"),
    h("p", { class: "small" }, "Private notes are delivered to this one connection and are not stored."),
  );
}
