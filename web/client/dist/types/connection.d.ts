import { FanfareError } from "./errors.js";
import type { FanfareOptions, Frame, State, Status, TokenSource } from "./types.js";
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
/**
 * One socket at a time, dialled again until it is closed. Every callback of a socket first checks that the
 * socket is still the current one: what an older one says late is never heard.
 */
export declare class Connection {
    #private;
    state: State;
    constructor(options: FanfareOptions, handler: Handler);
    get url(): string;
    connect(): void;
    /** Another token for the next connection; it takes effect with reconnect. */
    setToken(token: TokenSource | undefined): void;
    /** Leaves the socket, if any, for a new one: at once, or after the back-off. */
    reconnect(backOff?: boolean): void;
    close(): void;
    send(frame: object): boolean;
    /** The server did not accept the token. A new one is fetched, a few times; then we stay anonymous. */
    refused(): void;
    /** Something should have been answered and was not: the socket is as good as lost. */
    stalled(): void;
}
