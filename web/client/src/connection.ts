import { Backoff } from "./backoff.js";
import { FanfareError } from "./errors.js";
import { expiry, fits } from "./token.js";
import type { FanfareOptions, Frame, State, Status, TokenSource, WebSocketConstructor, WebSocketLike } from "./types.js";

/** What a connection tells its client. */
export interface Handler {
  opened(): void;
  frame(frame: Frame): void;
  /** An open socket is gone; the connection comes back by itself. */
  lost(code: number): void;
  /** The connection will not come back by itself. */
  ended(error: FanfareError, code: number): void;
  problem(error: FanfareError): void;
  status(status: Status): void;
  /** Sends something the server answers; false when there is nothing to ask. */
  probe(): boolean;
  /** Settles when nothing awaits an acknowledgement, or soon enough. */
  quiet(): Promise<void>;
}

const probeTimeout = 10_000;
const maxTimer = 2 ** 31 - 1;

/**
 * One socket at a time, dialled again until it is closed. Every callback of a socket first checks that the
 * socket is still the current one: what an older one says late is never heard.
 */
export class Connection {
  state: State = "idle";
  #token: TokenSource | undefined;
  #fresh: string | null | undefined; // fetched ahead of the next dial
  #socket: WebSocketLike | undefined;
  #attempt = 0; // a token that arrives for an older attempt is dropped
  #authFailures = 0;
  #heard = 0;
  #timers: Record<"retry" | "stable" | "refresh" | "beat" | "probe", ReturnType<typeof setTimeout> | undefined> = {
    retry: undefined,
    stable: undefined,
    refresh: undefined,
    beat: undefined,
    probe: undefined,
  };
  readonly #backoff: Backoff;
  readonly #url: string;
  readonly #options: FanfareOptions;
  readonly #handler: Handler;
  readonly #timeout: number;
  readonly #heartbeat: number;
  readonly #stableAfter: number;
  readonly #awake = () => this.#wake();

  constructor(options: FanfareOptions, handler: Handler) {
    this.#options = options;
    this.#handler = handler;
    this.#url = address(options.url);
    this.#token = options.token;
    const { min = 500, max = 30_000 } = options.backoff ?? {};
    this.#backoff = new Backoff(min, max);
    this.#stableAfter = Math.min(10 * min, 5000);
    this.#timeout = options.timeout ?? 15_000;
    this.#heartbeat = options.heartbeat ?? 45_000;
  }

  get url(): string {
    return this.#url;
  }

  connect(): void {
    if (this.state === "idle" || this.state === "ended") {
      this.#backoff.reset();
      this.#authFailures = 0;
      globalThis.addEventListener?.("online", this.#awake);
      globalThis.document?.addEventListener("visibilitychange", this.#awake);
      void this.#dial();
    }
  }

  /** Another token for the next connection; it takes effect with reconnect. */
  setToken(token: TokenSource | undefined): void {
    this.#token = token;
    this.#fresh = undefined;
    this.#authFailures = 0;
  }

  /** Leaves the socket, if any, for a new one: at once, or after the back-off. */
  reconnect(backOff = false): void {
    if (this.state === "idle" || this.state === "ended") return this.connect();
    if (!this.#lose(4000, 4000)) return;
    if (backOff) this.#wait(4000);
    else void this.#dial();
  }

  close(): void {
    this.#leave(1000);
    this.#sleep();
    this.#set({ state: "idle" });
  }

  send(frame: object): boolean {
    if (this.state !== "connected" || this.#socket!.readyState !== 1) return false;
    this.#socket!.send(JSON.stringify(frame));
    return true;
  }

  /** The server did not accept the token. A new one is fetched, a few times; then we stay anonymous. */
  refused(): void {
    if (typeof this.#token === "function" && this.#authFailures < 3) this.reconnect(this.#authFailures++ > 0);
  }

  /** Something should have been answered and was not: the socket is as good as lost. */
  stalled(): void {
    if (this.state === "connected") this.reconnect(true);
  }

  async #dial(): Promise<void> {
    clearTimeout(this.#timers.retry);
    const attempt = ++this.#attempt;
    this.#set({ state: "connecting" });
    let token: string | null | undefined;
    try {
      token = this.#fresh ?? (typeof this.#token === "function" ? await this.#token() : this.#token);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      this.#handler.problem(new FanfareError("token_failed", "The token could not be fetched: " + String(error)));
      return this.#wait(0);
    }
    if (attempt !== this.#attempt) return;
    this.#fresh = undefined;
    if (token && !fits(token)) return this.#end(new FanfareError("invalid_token", "The token has characters that cannot be sent."), 0);
    let socket: WebSocketLike;
    try {
      const Socket = this.#options.WebSocket ?? (globalThis.WebSocket as unknown as WebSocketConstructor);
      socket = token ? new Socket(this.#url, [token]) : new Socket(this.#url);
    } catch (error) {
      return this.#end(new FanfareError("invalid_url", String(error)), 0);
    }
    this.#socket = socket;
    const drop = (code: number, reason = "") => {
      if (socket !== this.#socket) return;
      if (code === 1008 || (code >= 4400 && code < 4500)) {
        return this.#end(new FanfareError("ended", reason || `The server ended the connection (${code}).`), code);
      }
      if (this.#lose(1000, code)) this.#wait(code);
    };
    // The close event always follows, but may take minutes when the network is gone.
    this.#timers.retry = setTimeout(() => drop(1006), this.#timeout);
    socket.onopen = () => {
      if (socket !== this.#socket) return;
      clearTimeout(this.#timers.retry);
      this.#set({ state: "connected" });
      this.#heard = Date.now();
      this.#timers.stable = setTimeout(() => {
        this.#backoff.reset();
        this.#authFailures = 0;
      }, this.#stableAfter);
      this.#beat();
      this.#planRefresh(token);
      this.#handler.opened();
    };
    socket.onmessage = (event: { data: unknown }) => {
      if (socket !== this.#socket) return;
      this.#heard = Date.now();
      clearTimeout(this.#timers.probe);
      const frame = parse(event.data);
      if (frame) this.#handler.frame(frame);
    };
    socket.onclose = (event: { code: number; reason?: string }) => drop(event.code, event.reason);
    socket.onerror = () => {};
  }

  /** Forgets the current socket, and whatever is under way. */
  #leave(code: number): void {
    this.#attempt++;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket && socket.readyState < 2) socket.close(code);
  }

  /** Leaves the socket and tells so; false when a listener has closed or reconnected meanwhile. */
  #lose(closeWith: number, code: number): boolean {
    const open = this.state === "connected";
    this.#leave(closeWith);
    this.state = "waiting";
    const attempt = this.#attempt;
    if (open) this.#handler.lost(code);
    return attempt === this.#attempt;
  }

  #wait(code: number): void {
    const retryIn = this.#backoff.next();
    this.#timers.retry = setTimeout(() => void this.#dial(), retryIn);
    this.#set({ state: "waiting", code, retryIn });
  }

  #end(error: FanfareError, code: number): void {
    this.#leave(1000);
    this.#sleep();
    this.#set({ state: "ended", code, error });
    this.#handler.ended(error, code);
  }

  #sleep(): void {
    globalThis.removeEventListener?.("online", this.#awake);
    globalThis.document?.removeEventListener("visibilitychange", this.#awake);
  }

  /** The network or the page is back: do not sit out the back-off, and do not trust a silent socket. */
  #wake(): void {
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.state === "waiting") {
      clearTimeout(this.#timers.retry);
      this.#timers.retry = setTimeout(() => void this.#dial(), Math.random() * 300);
    } else if (this.state === "connected" && Date.now() - this.#heard > 5000) {
      this.#probe();
    }
  }

  #beat(): void {
    if (!this.#heartbeat) return;
    this.#timers.beat = setTimeout(
      () => {
        if (Date.now() - this.#heard >= this.#heartbeat) this.#probe();
        this.#beat();
      },
      this.#heartbeat * (0.9 + Math.random() / 5),
    );
  }

  #probe(): void {
    if (!this.#handler.probe()) return;
    clearTimeout(this.#timers.probe);
    this.#timers.probe = setTimeout(() => this.stalled(), Math.min(probeTimeout, this.#timeout));
  }

  /** The identity of a socket is fixed, so a new token means a new socket. It is fetched first. */
  #planRefresh(token: string | null | undefined): void {
    const expires = token && typeof this.#token === "function" ? expiry(token) : undefined;
    if (expires === undefined) return;
    const left = expires - Date.now();
    const plan = (delay: number) => {
      this.#timers.refresh = setTimeout(refresh, Math.min(maxTimer, delay));
    };
    const refresh = async () => {
      if (expires - Date.now() > maxTimer) return plan(maxTimer);
      const attempt = this.#attempt;
      try {
        const fresh = await (this.#token as () => Promise<string>)();
        if (attempt !== this.#attempt) return;
        await this.#handler.quiet();
        if (attempt !== this.#attempt) return;
        this.#fresh = fresh;
        this.reconnect();
      } catch (error) {
        if (attempt !== this.#attempt) return;
        this.#handler.problem(new FanfareError("token_failed", "The token could not be fetched: " + String(error)));
        plan(10_000);
      }
    };
    plan(Math.max(left - (this.#options.refreshBefore ?? 30_000), left / 2, 1000));
  }

  #set(status: Status): void {
    this.state = status.state;
    this.#handler.status(status);
  }
}

function address(text: string): string {
  try {
    const url = new URL(text, globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = "";
    if (/^wss?:$/.test(url.protocol)) return url.href;
  } catch {
    // told below
  }
  throw new FanfareError("invalid_url", "Not the address of a WebSocket: " + text);
}

function parse(data: unknown): Frame | undefined {
  try {
    const frame = JSON.parse(data as string);
    if (frame && typeof frame.action === "string") {
      frame.options ??= {};
      return frame;
    }
  } catch {
    // not ours
  }
  return undefined;
}
