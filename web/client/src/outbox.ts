import { FanfareError } from "./errors.js";
import type { Ack, ErrorPayload, Frame, Pending, QueueStore, SendOptions, StoredMessage } from "./types.js";

/** What an outbox needs of its channel. */
export interface Courier {
  readonly name: string;
  /** Hands a message to the socket; false when it is gone. */
  transmit(message: StoredMessage): boolean;
  /** The socket of the moment, and the newest position seen. */
  socket(): string | undefined;
  offset(): string | undefined;
  /** Stored publications after the offset, oldest first. */
  since(offset: string): Promise<Frame[]>;
  /** An acknowledgement is overdue. */
  stalled(): void;
  problem(error: FanfareError): void;
  changed(size: number): void;
}

interface Item extends StoredMessage {
  sent: boolean;
  resolve?: (ack: Ack) => void;
  reject?: (error: FanfareError) => void;
  timer?: ReturnType<typeof setTimeout>;
}

/** Refusals that say nothing about the message itself; it is sent again, in its order. */
const passing = ["rate_limited", "overloaded", "unavailable", "unknown_outcome"];

/** How long after its end an old socket's last messages may still be stored, in milliseconds. */
const settling = 500;

/** How many messages may await their acknowledgement at once. */
const window = 16;

/**
 * The messages of a channel on their way to the server, in order. A message leaves the outbox when it was
 * acknowledged or refused for good. After any trouble messages go one at a time until the outbox is empty:
 * only so does the order hold when one of them has to be repeated.
 */
export class Outbox {
  #items: Item[] = [];
  #open = false;
  #careful = false;
  #lostAt = Date.now();
  #stopped = false;
  #generation = 0; // of the connection; what was begun for an older one is given up
  #pause: ReturnType<typeof setTimeout> | undefined;
  #loading: Promise<void> | undefined;
  #loaded = false;
  #writes: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly courier: Courier,
    private readonly mode: false | "memory" | "persistent",
    private readonly limit: number,
    private readonly timeout: number,
    private readonly store: QueueStore,
    private readonly key: string,
  ) {}

  get size(): number {
    return this.#items.length;
  }

  get busy(): boolean {
    return this.#items.some((item) => item.sent);
  }

  pending(): Pending[] {
    return this.#items.map(({ ref, payload, options, at }) => ({ ref, payload, options, at }));
  }

  add(payload: unknown, options: SendOptions): Promise<Ack> {
    const refuse = (code: string, text: string) => Promise.reject(new FanfareError(code, text, this.courier.name));
    if (!this.mode && !this.#open) return refuse("not_open", "The channel is not connected.");
    if (this.#items.length >= this.limit) return refuse("queue_full", "Too many messages are waiting.");
    try {
      // A copy: what the caller changes later is not what was sent. Undefined becomes null, as on the wire.
      payload = JSON.parse(JSON.stringify(payload ?? null));
    } catch {
      return refuse("invalid_payload", "The payload is not JSON.");
    }
    const item: Item = { ref: ref(), payload, options, at: Date.now(), sent: false };
    const promise = new Promise<Ack>((resolve, reject) => {
      item.resolve = resolve;
      item.reject = reject;
    });
    this.#items.push(item);
    if (!this.#open) {
      this.#careful = true;
      this.#save(item);
    }
    this.#changed();
    this.#pump();
    return promise;
  }

  /** Reads what an earlier page left; once. */
  load(): Promise<void> {
    this.#loading ??= (this.mode === "persistent" ? this.store.load(this.key) : Promise.resolve([])).then(
      (stored) => {
        this.#loaded = true;
        const known = new Set(this.#items.map((item) => item.ref));
        const older = stored.filter((message) => !known.has(message.ref));
        if (!older.length) return;
        this.#items.unshift(...older.map((message) => ({ ...message, sent: false })));
        this.#careful = true;
        this.#changed();
      },
      (error) => {
        this.#loaded = true;
        this.#unkept(error);
      },
    );
    return this.#loading;
  }

  /** The channel is joined. What is still to be read or cleared up holds the messages back. */
  opened(): void {
    const generation = ++this.#generation;
    const go = () => {
      if (generation !== this.#generation) return;
      this.#open = true;
      this.#pump();
    };
    const clear = () => {
      if (generation !== this.#generation) return;
      const after = this.#items.find((item) => item.after !== undefined && !item.sent)?.after;
      if (after === undefined) return go();
      // Were messages stored whose acknowledgement was lost? What the old socket still carried gets time to arrive.
      this.#pause = setTimeout(
        async () => {
          const frames = await this.courier.since(after).catch(() => []);
          if (generation !== this.#generation) return;
          this.#pause = undefined;
          for (const frame of frames) this.#recognise(frame);
          go();
        },
        Math.max(0, this.#lostAt + settling - Date.now()),
      );
    };
    this.#stopped = false;
    if (this.#loaded || this.mode !== "persistent") clear();
    else void this.load().then(clear);
  }

  /** Nothing leaves until the channel is joined again. */
  pause(): void {
    this.#generation++;
    this.#open = false;
    this.#unpause();
  }

  /** The socket is gone. */
  lost(code: number): void {
    this.pause();
    this.#lostAt = Date.now();
    const sent = this.#items.filter((item) => item.sent);
    // Sent alone, the message must be the one that was too large; sent again it would end every socket.
    if (code === 1009 && sent.length === 1) this.#fail(sent.pop()!, "too_large", "The message is too large.");
    for (const item of sent) {
      clearTimeout(item.timer);
      item.sent = false;
      this.#careful = true;
      if (!this.mode || this.#stopped) {
        this.#giveUp(item, "unknown_outcome", "The connection was lost before the message was acknowledged.");
      }
    }
  }

  /**
   * The channel is closed. What waits is given up (a persistent queue keeps it for the next open), what was
   * sent still gets its answer.
   */
  stop(code: string, text: string): void {
    this.pause();
    this.#stopped = true;
    for (const item of [...this.#items]) if (!item.sent) this.#giveUp(item, code, text);
  }

  acked(ref: string | undefined, ack: Ack): void {
    const item = this.#items.find((item) => item.ref === ref);
    if (!item) return;
    this.#remove(item);
    item.resolve?.(ack);
    this.#pump();
  }

  /** An error that names a message. False when it is none of ours, or when the application need not know. */
  refused(ref: string, error: ErrorPayload): boolean {
    const item = this.#items.find((item) => item.ref === ref);
    if (!item) return true;
    if (this.mode && passing.includes(error.code)) {
      clearTimeout(item.timer);
      item.sent = false;
      this.#careful = true;
      this.#unpause();
      this.#pause = setTimeout(
        () => {
          this.#pause = undefined;
          this.#pump();
        },
        (error.retry_after ?? 1) * 1000 * (1 + Math.random() / 4),
      );
      return false;
    }
    this.#fail(item, error.code, error.message, error.retry_after);
    this.#pump();
    return true;
  }

  #pump(): void {
    if (!this.#open || this.#pause !== undefined) return;
    let room = (this.#careful ? 1 : this.mode ? window : Infinity) - this.#items.filter((item) => item.sent).length;
    for (const item of this.#items) {
      if (room <= 0) return;
      if (item.sent) continue;
      const first = !item.sockets;
      if (!this.courier.transmit(item)) return;
      if (first) item.after = this.courier.offset();
      const socket = this.courier.socket();
      if (socket !== undefined && item.sockets?.at(-1) !== socket) item.sockets = [...(item.sockets ?? []), socket];
      item.sent = true;
      item.timer = setTimeout(() => this.courier.stalled(), this.timeout);
      this.#save(item);
      room--;
    }
  }

  /** A stored frame may be one of our messages whose acknowledgement was lost. */
  #recognise(frame: Frame): void {
    const item = this.#items.find(
      (item) =>
        item.sockets?.includes(frame.client?.socketId ?? "") &&
        JSON.stringify(item.payload) === JSON.stringify(frame.payload),
    );
    if (item) this.acked(item.ref, { id: frame.options.id!, offset: frame.options.offset });
  }

  #giveUp(item: Item, code: string, text: string): void {
    if (this.mode !== "persistent") return this.#fail(item, code, text);
    item.reject?.(new FanfareError(code, text, this.courier.name));
    item.resolve = item.reject = undefined;
  }

  #fail(item: Item, code: string, text: string, retryAfter?: number): void {
    this.#remove(item);
    item.reject?.(new FanfareError(code, text, this.courier.name, retryAfter));
  }

  #remove(item: Item): void {
    clearTimeout(item.timer);
    this.#items.splice(this.#items.indexOf(item), 1);
    if (!this.#items.length) this.#careful = false;
    if (this.mode === "persistent") this.#write(() => this.store.remove(this.key, item.ref));
    this.#changed();
  }

  #save(item: Item): void {
    if (this.mode !== "persistent") return;
    const { ref, payload, options, at, sockets, after } = item;
    this.#write(() => this.store.put(this.key, { ref, payload, options, at, sockets, after }));
  }

  /** One after the other, so that a removal never overtakes what it removes. */
  #write(task: () => Promise<void>): void {
    this.#writes = this.#writes.then(task).catch((error) => this.#unkept(error));
  }

  #unkept(error: unknown): void {
    this.courier.problem(new FanfareError("storage_failed", "The queue cannot be kept: " + String(error), this.courier.name));
  }

  #unpause(): void {
    clearTimeout(this.#pause);
    this.#pause = undefined;
  }

  #changed(): void {
    this.courier.changed(this.#items.length);
  }
}

/** Unguessable, because on its socket it stands for the message. */
function ref(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
