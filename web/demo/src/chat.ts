import type { Frame, Member } from "../client.js";
import { memory, random, type Role } from "./params.js";
import type { Link, Transport } from "./transport.js";

export interface Message {
  /** Made by the sender; tells its own message when it comes back. */
  key: string;
  kind: "say" | "note" | "event";
  name: string;
  role: Role | "system";
  text: string;
  at: number;
  mine: boolean;
  state: "waiting" | "sent" | "failed";
  /** Whom a private note of mine went to. */
  to?: string;
  why?: string;
  offset: number;
}

export interface Person {
  id: string;
  name: string;
  role: Role;
  me: boolean;
  typing: boolean;
  page?: string;
  since?: number;
}

interface Payload {
  kind: "say" | "note";
  key: string;
  /** The tab it was written in, so that a reloaded page knows its own. */
  by: string;
  name: string;
  role: Role;
  text: string;
  at: number;
  to?: string;
}

const longest = 2000;
/** How many messages the page shows. */
const shown = 400;
/** How long a typing indicator stands without another key, and how long the SDK may take to bring an echo. */
const typingFor = 3000;
const echoWithin = 5000;

/** The conversation: what both views show. It fires `change` when anything of it has changed. */
export class Chat extends EventTarget {
  /** The status variable of the seeds: what the leave button switches. */
  status: "idle" | "connecting" | "connected" | "disconnected" | "left" = "idle";
  link: Link | undefined;
  /** When the next attempt is due, for the countdown. */
  retryAt = 0;
  error = "";
  messages: Message[] = [];
  unread = 0;
  /** Whether somebody looks; otherwise what comes is unread. */
  watched = true;
  #people = new Map<string, Person>();
  #names = new Map<string, { name: string; role: Role }>();
  #self = "";
  readonly #me: string;
  #typing = false;
  #typingTimer = 0;
  #page = "";
  #since = Date.now();

  constructor(
    readonly transport: Transport,
    readonly role: Role,
    public name: string,
  ) {
    super();
    this.#me = memory.get("me") ?? random();
    memory.set("me", this.#me);
  }

  get people(): Person[] {
    const order = (person: Person) => (person.me ? 0 : 1);
    return [...this.#people.values()].sort((a, b) => order(a) - order(b) || a.name.localeCompare(b.name));
  }

  get waiting(): number {
    return this.messages.filter((message) => message.state === "waiting").length;
  }

  open(): void {
    if (this.status !== "idle" && this.status !== "left") return;
    this.status = "connecting";
    this.error = "";
    this.#since = Date.now();
    this.transport.open({ frame: (frame) => this.#take(frame), link: (link) => this.#linked(link) });
    this.#tell();
    this.#changed();
  }

  leave(): void {
    this.transport.leave();
    this.status = "left";
    this.link = undefined;
    this.#people.clear();
    this.#changed();
  }

  say(text: string): void {
    this.#send({ kind: "say", text });
  }

  /** Only the one person sees it, and it is not stored. */
  note(text: string, to: Person): void {
    this.#send({ kind: "note", text, to: to.name }, to.id);
  }

  retry(message: Message): void {
    this.messages = this.messages.filter((other) => other !== message);
    this.say(message.text);
  }

  /** Called at every key press. */
  typing(): void {
    window.clearTimeout(this.#typingTimer);
    this.#typingTimer = window.setTimeout(() => this.#setTyping(false), typingFor);
    this.#setTyping(true);
  }

  /** What the visitor looks at, for the agents. */
  visit(page: string): void {
    this.#page = page;
    this.#tell();
  }

  read(): void {
    if (this.unread) {
      this.unread = 0;
      this.#changed();
    }
  }

  #setTyping(typing: boolean): void {
    if (typing === this.#typing) return;
    this.#typing = typing;
    this.#tell();
  }

  #tell(): void {
    const { name, role } = this;
    this.transport.setData({ name, role, typing: this.#typing, page: this.#page, since: this.#since });
  }

  #send(what: Pick<Payload, "kind" | "text" | "to">, to?: string): void {
    const text = what.text.trim().slice(0, longest);
    if (!text) return;
    window.clearTimeout(this.#typingTimer);
    this.#setTyping(false);
    const payload: Payload = { ...what, text, key: random(), by: this.#me, name: this.name, role: this.role, at: Date.now() };
    const message = this.#waiting(payload);
    const settle = (state: Message["state"], why?: string) => {
      if (message.state === "waiting") Object.assign(message, { state, why });
      this.#changed();
    };
    const done = this.transport.send(payload, to);
    if (done) done.then(() => settle("sent"), (error: Error) => settle("failed", error.message));
    else if (to) settle("sent"); // nobody tells the sender of a private message
    this.#changed();
  }

  /** Shows a message of mine before the server has it. */
  #waiting(payload: Payload): Message {
    const message: Message = { ...payload, mine: true, state: "waiting", offset: Infinity };
    this.messages.push(message);
    return message;
  }

  #linked(link: Link): void {
    this.link = link;
    this.retryAt = link.retryIn ? Date.now() + link.retryIn : 0;
    if (link.state === "connected" && !this.transport.reliable) this.#doubt();
    this.#changed();
  }

  /** A client that cannot tell: what has not come back some time after a reconnect was lost. */
  #doubt(): void {
    const doubtful = this.messages.filter((message) => message.state === "waiting");
    window.setTimeout(() => {
      for (const message of doubtful) {
        if (message.state === "waiting") Object.assign(message, { state: "failed", why: "The SDK dropped it while it was offline." });
      }
      this.#changed();
    }, echoWithin);
  }

  #take(frame: Frame<any>): void {
    const { payload } = frame;
    switch (frame.action) {
      case "connection_status":
        if (this.status !== "left") this.status = payload.status;
        if (payload.status === "connected") this.#restore();
        break;
      case "join":
        this.#self = frame.client?.socketId ?? "";
        this.status = "connected";
        break;
      case "presence_full":
        this.#people.clear();
        for (const member of payload.presence) this.#meet(member);
        break;
      case "presence_update":
        if (payload.action === "leave") this.#people.delete(payload.presence.socketId);
        else this.#meet(payload.presence);
        break;
      case "history":
        for (const item of payload.history) this.#add(item, true);
        break;
      case "message":
        this.#add(frame, false);
        break;
      case "event":
        this.#announce(frame);
        break;
      case "error":
        this.error = String(payload?.message ?? "");
        break;
      case "queue":
        break;
      default:
        return;
    }
    this.#changed();
  }

  /** After a reload: what waits in the client's queue. */
  #restore(): void {
    for (const payload of this.transport.waiting() as Payload[]) {
      if (typeof payload?.key === "string" && !this.messages.some((message) => message.key === payload.key)) this.#waiting(payload);
    }
  }

  #meet(member: Member): void {
    const { socketId: id, extras, data } = member;
    const known = this.#names.get(id);
    const me = id === this.#self;
    const text = (...values: unknown[]) => values.find((value) => typeof value === "string" && value !== "") as string | undefined;
    this.#people.set(id, {
      id,
      me,
      name: me ? this.name : (text(extras?.name, data?.name, known?.name) ?? "Guest " + id.slice(-4)).slice(0, 40),
      role: me ? this.role : text(data?.role, known?.role) === "agent" ? "agent" : "visitor",
      typing: data?.typing === true,
      page: text(data?.page)?.slice(0, 80),
      since: typeof data?.since === "number" ? data.since : undefined,
    });
  }

  #add(frame: Frame<any>, old: boolean): void {
    const payload = frame.payload as Partial<Payload> | null;
    if (typeof payload?.text !== "string" || typeof payload.key !== "string") return;
    const sender = frame.client?.socketId ?? "";
    const name = String(frame.client?.extras?.name ?? payload.name ?? "Guest").slice(0, 40);
    const role: Role = payload.role === "agent" ? "agent" : "visitor";
    const offset = Number(frame.options.offset ?? this.messages.findLast((message) => message.offset < Infinity)?.offset ?? 0);
    if (sender && !this.#names.has(sender)) {
      this.#names.set(sender, { name, role });
      const person = this.#people.get(sender);
      if (person && !person.me) Object.assign(person, { name, role });
    }
    const known = this.messages.find((message) => message.key === payload.key);
    if (known) {
      known.offset = Math.min(known.offset, offset);
      known.state = "sent";
    } else {
      const mine = payload.by === this.#me;
      this.messages.push({
        key: payload.key,
        kind: frame.options.socketId ? "note" : "say",
        name,
        role,
        text: payload.text.slice(0, longest),
        at: Number(payload.at) || Date.now(),
        mine,
        state: "sent",
        offset,
      });
      if (!old && !mine && !this.watched) this.unread++;
    }
    this.#order();
  }

  /** What a back end has to say: POST /api/v1/{hash}/events. */
  #announce(frame: Frame<{ data: unknown }>): void {
    const { data } = frame.payload;
    const text = typeof data === "string" ? data : (data as { text?: unknown } | null)?.text;
    this.messages.push({
      key: frame.options.id ?? String(Math.random()),
      kind: "event",
      name: "",
      role: "system",
      text: (typeof text === "string" ? text : JSON.stringify(data)).slice(0, longest),
      at: Date.now(),
      mine: false,
      state: "sent",
      offset: Number(frame.options.offset ?? this.messages.findLast((message) => message.offset < Infinity)?.offset ?? 0),
    });
    if (!this.watched) this.unread++;
    this.#order();
  }

  /** As the channel has it; what the server does not have yet comes last. */
  #order(): void {
    this.messages.sort((a, b) => (a.offset === b.offset ? 0 : a.offset - b.offset));
    if (this.messages.length > shown) this.messages.splice(0, this.messages.length - shown);
  }

  #changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}
