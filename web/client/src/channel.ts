import { Emitter } from "./emitter.js";
import { FanfareError } from "./errors.js";
import { Outbox, type Courier } from "./outbox.js";
import { Pager } from "./pager.js";
import { Roster } from "./roster.js";
import type {
  Ack,
  ChannelEvents,
  ChannelOptions,
  ErrorPayload,
  Frame,
  HistoryPage,
  HistoryRange,
  JoinInfo,
  Member,
  Pending,
  Position,
  QueueStore,
  SendOptions,
} from "./types.js";

/** What a channel needs of its client. */
export interface Link {
  readonly url: string;
  readonly timeout: number;
  readonly store: QueueStore;
  up(): boolean;
  send(frame: object): boolean;
  stalled(): void;
  /** A channel is wanted, or no longer. */
  changed(): void;
}

/** How many ids of received publications are remembered; a resume never brings more than 1000. */
const remembered = 2048;
/** Refusals of a join that pass. */
const passing = ["rate_limited", "overloaded", "unavailable"];
/** Errors, besides those of a join, after which the server has us no longer on the channel. */
const removing = ["removed", "not_joined", "channel_not_found", "anonymous_not_allowed", "pattern_join_denied"];
/** Errors of a presence update; all others that name no ref belong to the history request under way. */
const ofPresence = ["presence_disabled", "too_large"];

/**
 * One channel, or pattern, of a connection. It is joined while it is open and the connection is up, and joined
 * again after each reconnect, resuming where it was. Made by `Fanfare.channel`.
 */
export class Channel {
  readonly name: string;
  #options: ChannelOptions;
  readonly #link: Link;
  readonly #emitter = new Emitter<ChannelEvents>();
  #outbox: Outbox;
  #wanted = false;
  #joined = false;
  #joinsDue = 0; // joins of this socket without an answer; only the last answer counts
  #self: Member | undefined;
  #resumed: boolean | undefined;
  #position: Position | undefined;
  #known = false; // was joined before, so that something may have been missed since
  #asked = false; // the join under way asks to resume
  #waiters: { resolve(info: JoinInfo): void; reject(error: FanfareError): void }[] = [];
  #seen = new Set<string>();
  readonly #roster: Roster;
  readonly #pager: Pager;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #joinTimer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(name: string, options: ChannelOptions, link: Link) {
    this.name = name;
    this.#link = link;
    this.#options = options;
    this.#position = options.position;
    this.#outbox = this.#newOutbox();
    const send = (action: string, payload: object) => this.#joined && link.send({ action, options: { channel: name }, payload });
    this.#roster = new Roster((data) => !name.endsWith("/*") && send("presence_update", { data }));
    this.#pager = new Pager(
      (range) => send("history", range),
      () => link.stalled(),
      link.timeout,
    );
  }

  /** Whether the server has confirmed that this client is on the channel, now. */
  get joined(): boolean {
    return this.#joined;
  }

  /** Whether the channel was opened and not closed since; it may be disconnected. */
  get isOpen(): boolean {
    return this.#wanted;
  }

  /** This client as others see it; its `socketId` changes with every connection. */
  get self(): Member | undefined {
    return this.#self;
  }

  /** The newest place in the channel's history that was seen; undefined where there is no history. */
  get position(): Position | undefined {
    return this.#position && { ...this.#position };
  }

  /** Messages that wait to be sent or acknowledged, oldest first. */
  pending(): Pending[] {
    return this.#outbox.pending();
  }

  /**
   * Joins the channel and keeps it joined. Settles with the server's answer; a refusal rejects, and the channel
   * is closed then. Opening an open channel changes nothing.
   */
  open(): Promise<JoinInfo> {
    if (this.#joined) return Promise.resolve(this.#info());
    const promise = new Promise<JoinInfo>((resolve, reject) => this.#waiters.push({ resolve, reject }));
    promise.catch(() => {}); // an error event tells the same
    if (!this.#wanted) {
      this.#wanted = true;
      void this.#outbox.load();
      this.#link.changed();
      if (this.#link.up()) {
        // After the caller had the time to add listeners.
        queueMicrotask(() => this.#wanted && this.#link.up() && this.#status("connected"));
        this.#join();
      }
    }
    return promise;
  }

  /**
   * Leaves the channel. Messages that were sent still get their answer; those that wait are rejected with
   * `closed`, and a persistent queue keeps them for the next open.
   */
  close(): void {
    if (!this.#wanted) return;
    if (this.#joined || this.#joinsDue) this.#link.send({ action: "leave", options: { channel: this.name }, payload: null });
    this.#shut(new FanfareError("closed", "The channel was closed.", this.name));
  }

  /** Sends any JSON value. Settles when the server has accepted it, rejects when it has refused it. */
  send(payload: unknown, options: SendOptions = {}): Promise<Ack> {
    const promise = this.#wanted
      ? this.#outbox.add(payload, options)
      : Promise.reject(new FanfareError("not_open", "The channel is not open.", this.name));
    promise.catch(() => {}); // fire and forget is allowed
    return promise;
  }

  /** Reads stored messages: the latest ones, or those of a range. */
  history(range: HistoryRange = {}): Promise<HistoryPage> {
    if (!this.#wanted) return Promise.reject(new FanfareError("not_open", "The channel is not open.", this.name));
    return this.#pager.read(range);
  }

  /** The members as last told by the server; empty unless the channel was made with `presence`. */
  presence(): Member[] {
    return this.#roster.list();
  }

  /**
   * Sets this client's presence data (at most 4 KiB); null clears it. It is set again after each reconnect. On a
   * pattern it does nothing.
   */
  setPresence(data: object | null): void {
    this.#roster.set(data);
  }

  /** Adds a listener for one event, or for all. Returns what removes it. */
  on(listener: (frame: Frame) => void): () => void;
  on<K extends keyof ChannelEvents>(event: K, listener: (frame: ChannelEvents[K]) => void): () => void;
  on(event: any, listener?: any): () => void {
    return typeof event === "function" ? this.#emitter.on("all", event) : this.#emitter.on(event, listener);
  }

  /** @internal Whether messages await their acknowledgement. */
  _busy(): boolean {
    return this.#outbox.busy;
  }

  /** @internal */
  _matches(options: ChannelOptions): boolean {
    const keys = Object.keys(options) as (keyof ChannelOptions)[];
    return keys.every((key) => key === "position" || options[key] === this.#options[key]);
  }

  /** @internal Only while closed. */
  _configure(options: ChannelOptions): void {
    this.#options = options;
    this.#position = options.position;
    this.#outbox = this.#newOutbox();
  }

  /** @internal A new socket is open. */
  _up(): void {
    if (!this.#wanted) return;
    this.#status("connected");
    if (this.#wanted && !this.#joinsDue) this.#join();
  }

  /** @internal The socket is gone. */
  _down(code: number): void {
    this.#joined = false;
    this.#joinsDue = 0;
    this.#rest();
    this.#outbox.lost(code);
    if (this.#wanted) this.#status("disconnected", code);
  }

  /** @internal The connection is over; `open` starts another one. */
  _ended(error: FanfareError, code: number): void {
    this._down(code);
    if (!this.#wanted) return;
    this.#shut(error);
    this.#fire("error", { action: "error", options: { channel: this.name }, payload: { code: error.code, message: error.message } });
  }

  /** @internal Asks something cheap that is answered. */
  _probe(): boolean {
    if (!this.#joined) return false;
    this.#pager.read({ limit: 1 }, true).catch(() => {});
    return true;
  }

  /** @internal An error about the connection, or one of ours. */
  _problem(payload: ErrorPayload): void {
    if (this.#wanted) this.#fire("error", { action: "error", options: { channel: this.name }, payload });
  }

  /** @internal A frame that names this channel. */
  _receive(frame: Frame<any>): void {
    const { action, options, payload } = frame;
    if (action === "ack") return this.#outbox.acked(options.ref, { id: payload.id, offset: payload.offset });
    if (action === "error") return this.#failed(frame);
    if (action === "join") return this.#answered(frame);
    // What an earlier membership had coming, or another's after the channel was closed.
    if (!this.#joined) return;
    if (action === "presence_full") {
      this.#roster.fill(payload.presence);
    } else if (action === "presence_update") {
      this.#roster.change(payload.action, payload.presence);
    } else if (action === "history") {
      if ("more" in payload) {
        if (this.#pager.answered(payload)) this.#fire("history", frame);
        return;
      }
      for (const item of payload.history) this.#isNew(item.options?.id);
      // The empty answer to a resume where nothing is stored.
      if (!payload.history.length && !this.#options.history) return;
    } else if (action === "message" || action === "event") {
      const fresh = this.#isNew(options.id);
      this.#advance(options);
      if (!fresh) return;
    }
    this.#fire(action as keyof ChannelEvents, frame);
  }

  #newOutbox(): Outbox {
    const courier: Courier = {
      name: this.name,
      transmit: ({ ref, payload, options }) =>
        this.#link.send({
          action: "message",
          options: {
            channel: this.name,
            ref,
            // A ref belongs to a socket; the key makes it the same message on the next one. Both are 96 random bits.
            key: ref,
            ...(options.authenticated && { authenticated: true }),
            ...(options.to !== undefined && { socketId: options.to }),
          },
          payload,
        }),
      socket: () => this.#self?.socketId,
      offset: () => this.#position?.offset,
      since: async (offset) => {
        const frames: Frame[] = [];
        for (;;) {
          const page = await this.#pager.read({ after: offset }, true);
          frames.push(...page.items);
          const last = page.items.at(-1)?.options.offset;
          if (!page.more || last === undefined) return frames;
          offset = last;
        }
      },
      stalled: () => this.#link.stalled(),
      problem: (error) => this._problem({ code: error.code, message: error.message }),
      changed: (size) => this.#emitter.emit("queue", { action: "queue", options: { channel: this.name }, payload: { size } }),
    };
    const { queue = "memory", queueLimit = 1000 } = this.#options;
    const key = this.#link.url + " " + this.name;
    return new Outbox(courier, queue, queueLimit, this.#link.timeout, this.#link.store, key);
  }

  #join(): void {
    clearTimeout(this.#joinTimer);
    const { presence = false, history = false } = this.#options;
    this.#asked = this.#position !== undefined || this.#known;
    // Without a position (no history, or a pattern) the answer is that something may have been missed.
    const resume = this.#asked ? (this.#position ?? { offset: "0" }) : undefined;
    const sent = this.#link.send({
      action: "join",
      options: { channel: this.name },
      // What resume cannot bring back comes as history anyway.
      payload: { history: history && !resume, presence, ...(resume && { resume }) },
    });
    if (!sent) return;
    this.#joinsDue++;
    this.#joinTimer = setTimeout(() => this.#link.stalled(), this.#link.timeout);
  }

  #answered(frame: Frame<{ resumed: boolean } | null>): void {
    if (this.#joinsDue) this.#joinsDue--;
    if (this.#joinsDue || !this.#wanted) return;
    clearTimeout(this.#joinTimer);
    this.#joined = this.#known = true;
    this.#self = frame.client ?? undefined;
    this.#resumed = this.#asked ? frame.payload?.resumed === true : undefined;
    // After a whole resume the missed frames are still to come: they move the position, not the answer.
    if (!this.#resumed) {
      const { offset, epoch } = frame.options;
      this.#position = offset !== undefined && epoch !== undefined ? { offset, epoch } : undefined;
    }
    this.#roster.joined(this.#self?.socketId);
    this.#outbox.opened();
    this.#pager.next();
    for (const { resolve } of this.#waiters.splice(0)) resolve(this.#info());
    this.#fire("join", frame);
  }

  #failed(frame: Frame<ErrorPayload>): void {
    const { ref } = frame.options;
    const { code, message, retry_after } = frame.payload;
    if (code === "gap" && this.#joined) {
      // Only a resume can tell what is missing, and the server resumes those who join anew.
      this.#link.send({ action: "leave", options: { channel: this.name }, payload: null });
      this.#joined = false;
      this.#rest();
      this.#outbox.pause();
      return this.#join();
    }
    if (ref !== undefined) {
      if (!this.#outbox.refused(ref, frame.payload)) return;
    } else if (this.#joinsDue) {
      if (--this.#joinsDue === 0 && this.#wanted) {
        clearTimeout(this.#joinTimer);
        if (passing.includes(code)) this.#retryTimer = setTimeout(() => this.#retry(), (retry_after ?? 2) * 1000 * (1 + Math.random() / 2));
        else this.#shut(new FanfareError(code, message, this.name, retry_after));
      }
    } else if (removing.includes(code)) {
      this.#shut(new FanfareError(code, message, this.name));
    } else if (!ofPresence.includes(code) && !this.#pager.failed(new FanfareError(code, message, this.name, retry_after))) {
      return;
    }
    this.#fire("error", frame);
  }

  #retry(): void {
    if (this.#wanted && !this.#joined && !this.#joinsDue && this.#link.up()) this.#join();
  }

  /** The channel is closed, by whom ever. */
  #shut(error: FanfareError): void {
    this.#wanted = this.#joined = this.#known = false;
    this.#position = undefined;
    this.#roster.fill([]);
    this.#rest();
    this.#outbox.stop(error.code, error.message);
    for (const { reject } of this.#waiters.splice(0)) reject(error);
    this.#pager.close(error);
    this.#link.changed();
  }

  /** Nothing of ours goes out or is waited for until the channel is joined again. */
  #rest(): void {
    clearTimeout(this.#joinTimer);
    clearTimeout(this.#retryTimer);
    this.#roster.rest();
    this.#pager.rest();
  }

  #info(): JoinInfo {
    return { self: this.#self, resumed: this.#resumed };
  }

  #isNew(id: string | undefined): boolean {
    if (id === undefined) return true;
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > remembered) this.#seen.delete(this.#seen.values().next().value!);
    return true;
  }

  #advance({ offset }: { offset?: string }): void {
    const position = this.#position;
    if (!position || offset === undefined) return;
    const longer = offset.length - position.offset.length;
    if (longer > 0 || (longer === 0 && offset > position.offset)) position.offset = offset;
  }

  #status(status: "connected" | "disconnected", code?: number): void {
    this.#fire("connection_status", { action: "connection_status", options: {}, payload: { status, code } });
  }

  #fire<K extends keyof ChannelEvents>(event: K, frame: ChannelEvents[K]): void {
    this.#emitter.emit(event, frame);
    this.#emitter.emit("all", frame);
  }
}
