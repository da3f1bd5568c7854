import type { Member } from "./types.js";

/** Least time between two updates of one's presence data, in milliseconds. */
const pace = 50;

/** The members of a channel as last told by the server, and this client's own presence data. */
export class Roster {
  #members = new Map<string, Member>();
  #self: string | undefined;
  #data: object | null | undefined;
  #due = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    /** Hands the data to the socket; false when the channel is not joined. */
    private readonly send: (data: object | null) => boolean,
  ) {}

  list(): Member[] {
    return [...this.#members.values()];
  }

  fill(members: Member[]): void {
    this.#members.clear();
    for (const member of members) this.#enter(member);
  }

  change(action: "join" | "leave" | "update", member: Member): void {
    if (action === "leave") this.#members.delete(identify(member));
    else this.#enter(member);
  }

  set(data: object | null): void {
    this.#data = data;
    this.#due = true;
    this.#tell();
  }

  /** A new membership: the server does not know our data. */
  joined(self: string | undefined): void {
    this.#self = self;
    this.#due = this.#data !== undefined;
    this.#tell();
  }

  /** The socket is gone. */
  rest(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #tell(): void {
    if (!this.#due || this.#timer !== undefined || !this.send(this.#data!)) return;
    this.#due = false;
    for (const member of this.#members.values()) this.#enter(member);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#tell();
    }, pace);
  }

  #enter(member: Member): void {
    // The list may have been made before the server had our data.
    if (member.socketId === this.#self && this.#data !== undefined) {
      member.data = (this.#data ?? undefined) as Record<string, unknown> | undefined;
    }
    this.#members.set(identify(member), member);
  }
}

function identify(member: Member): string {
  return member.socketId + " " + (member.source ?? "");
}
