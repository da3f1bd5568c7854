import type { FanfareError } from "./errors.js";
import type { Frame, HistoryPage, HistoryRange } from "./types.js";

interface Request {
  range: HistoryRange;
  quiet: boolean;
  sent: boolean;
  resolve(page: HistoryPage): void;
  reject(error: FanfareError): void;
}

/**
 * The history requests of a channel. Answers name no request, so there is never more than one under way; what a
 * lost socket left unanswered is asked again.
 */
export class Pager {
  #requests: Request[] = []; // the first one may be under way
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    /** Hands a request to the socket; false when the channel is not joined. */
    private readonly send: (range: object) => boolean,
    private readonly stalled: () => void,
    private readonly timeout: number,
  ) {}

  /** A quiet request is our own: its answer is no event. */
  read(range: HistoryRange, quiet = false): Promise<HistoryPage> {
    const { before, after, since } = range;
    // With at least one of them in the request, the answer says whether there is more and is known as ours.
    const limit = range.limit ?? (since === undefined && after === undefined ? 1000 : undefined);
    return new Promise((resolve, reject) => {
      this.#requests.push({ range: { limit, before, after, since }, quiet, sent: false, resolve, reject });
      this.next();
    });
  }

  next(): void {
    const request = this.#requests[0];
    if (!request || request.sent || !this.send(request.range)) return;
    request.sent = true;
    this.#timer = setTimeout(this.stalled, this.timeout);
  }

  /** True when the application should hear of the answer. */
  answered({ history, more }: { history: Frame[]; more?: boolean }): boolean {
    const request = this.#end();
    request?.resolve({ items: history, more: more === true });
    return request ? !request.quiet : false;
  }

  /** An error that may be the answer. True when the application should hear of it. */
  failed(error: FanfareError): boolean {
    const request = this.#end();
    request?.reject(error);
    return !request?.quiet;
  }

  /** The socket is gone. */
  rest(): void {
    clearTimeout(this.#timer);
    if (this.#requests[0]) this.#requests[0].sent = false;
  }

  close(error: FanfareError): void {
    for (const { reject } of this.#requests.splice(0)) reject(error);
  }

  #end(): Request | undefined {
    if (!this.#requests[0]?.sent) return undefined;
    clearTimeout(this.#timer);
    const request = this.#requests.shift();
    this.next();
    return request;
  }
}
