import { Channel, type Link } from "./channel.js";
import { Connection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { FanfareError } from "./errors.js";
import { IndexedDBStore } from "./store.js";
import type { ChannelOptions, ErrorPayload, FanfareOptions, Frame, Status, TokenSource } from "./types.js";

/** How long a connection without an open channel is kept, in milliseconds. */
const linger = 1000;
/** How long a token's replacement waits for acknowledgements, in milliseconds. */
const patience = 2000;

/**
 * A connection to one realtime server. Any number of them may live on a page; each has its own socket,
 * identity and channels. It connects when the first channel is opened, or by `connect`.
 */
export class Fanfare {
  readonly #connection: Connection;
  readonly #channels = new Map<string, Channel>();
  readonly #emitter = new Emitter<{ status: Status; error: FanfareError }>();
  readonly #link: Link;
  #status: Status = { state: "idle" };
  #kept = false; // connect was called: stay, even without a channel
  #lingering: ReturnType<typeof setTimeout> | undefined;

  constructor(options: FanfareOptions) {
    const each = (visit: (channel: Channel) => void) => [...this.#channels.values()].forEach(visit);
    const problem = (error: FanfareError) => {
      this.#emitter.emit("error", error);
      each((channel) => channel._problem({ code: error.code, message: error.message }));
    };
    const connection = (this.#connection = new Connection(options, {
      opened: () => each((channel) => channel._up()),
      lost: (code) => each((channel) => channel._down(code)),
      ended: (error, code) => {
        this.#emitter.emit("error", error);
        each((channel) => channel._ended(error, code));
      },
      problem,
      frame: (frame) => {
        const name = frame.options.channel;
        if (name !== undefined) return this.#channels.get(name)?._receive(frame);
        if (frame.action !== "error") return;
        const { code, message, retry_after } = (frame as Frame<ErrorPayload>).payload;
        problem(new FanfareError(code, message, undefined, retry_after));
        if (code === "token_expired" || code === "authentication_failed") connection.refused();
      },
      status: (status) => {
        this.#status = status;
        this.#emitter.emit("status", status);
      },
      probe: () => [...this.#channels.values()].some((channel) => channel._probe()),
      quiet: () => this.#quiet(),
    }));
    this.#link = {
      url: connection.url,
      timeout: options.timeout ?? 15_000,
      store: options.store ?? new IndexedDBStore(),
      up: () => connection.state === "connected",
      send: (frame) => connection.send(frame),
      stalled: () => connection.stalled(),
      changed: () => this.#changed(),
    };
  }

  get status(): Status {
    return this.#status;
  }

  /**
   * The channel of this name, or pattern such as `chat/*`. There is one object for each name; asking for an open
   * one with other options is an error.
   */
  channel(name: string, options: ChannelOptions = {}): Channel {
    let channel = this.#channels.get(name);
    if (!channel) {
      channel = new Channel(name, options, this.#link);
      this.#channels.set(name, channel);
    } else if (!channel._matches(options)) {
      if (channel.isOpen || channel._busy()) {
        throw new FanfareError("invalid_options", "The channel is open with other options.", name);
      }
      channel._configure(options);
    }
    return channel;
  }

  /** Connects now, and stays connected when no channel is open. */
  connect(): void {
    this.#kept = true;
    this.#connection.connect();
  }

  /** Leaves the socket for a new one, at once. Open channels resume. */
  reconnect(): void {
    this.#connection.reconnect();
  }

  /** Closes all channels and the connection. `open` and `connect` begin anew. */
  close(): void {
    this.#kept = false;
    for (const channel of this.#channels.values()) channel.close();
    clearTimeout(this.#lingering);
    this.#connection.close();
    for (const channel of this.#channels.values()) channel._down(1000);
  }

  /** Another token, or none; a live connection is replaced by one of the new identity. */
  setToken(token: TokenSource | undefined): void {
    this.#connection.setToken(token);
    if (this.#connection.state !== "idle" && this.#connection.state !== "ended") this.#connection.reconnect();
  }

  /** `status` for every step of the connection, `error` for what concerns no single channel. Returns what removes it. */
  on(event: "status", listener: (status: Status) => void): () => void;
  on(event: "error", listener: (error: FanfareError) => void): () => void;
  on(event: any, listener: any): () => void {
    return this.#emitter.on(event, listener);
  }

  /** Connects for the first open channel, and lets go some time after the last one was closed. */
  #changed(): void {
    clearTimeout(this.#lingering);
    if (this.#wanted()) {
      // A microtask later, so that channels opened together are joined in the order they were opened.
      queueMicrotask(() => this.#wanted() && this.#connection.connect());
    } else if (!this.#kept) {
      this.#lingering = setTimeout(() => this.#connection.close(), linger);
    }
  }

  #wanted(): boolean {
    return [...this.#channels.values()].some((channel) => channel.isOpen);
  }

  async #quiet(): Promise<void> {
    const until = Date.now() + patience;
    while (Date.now() < until && [...this.#channels.values()].some((channel) => channel._busy())) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
