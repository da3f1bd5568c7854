import { Channel } from "./channel.js";
import { FanfareError } from "./errors.js";
import type { ChannelOptions, FanfareOptions, Status, TokenSource } from "./types.js";
/**
 * A connection to one realtime server. Any number of them may live on a page; each has its own socket,
 * identity and channels. It connects when the first channel is opened, or by `connect`.
 */
export declare class Fanfare {
    #private;
    constructor(options: FanfareOptions);
    get status(): Status;
    /**
     * The channel of this name, or pattern such as `chat/*`. There is one object for each name; asking for an open
     * one with other options is an error.
     */
    channel(name: string, options?: ChannelOptions): Channel;
    /** Connects now, and stays connected when no channel is open. */
    connect(): void;
    /** Leaves the socket for a new one, at once. Open channels resume. */
    reconnect(): void;
    /** Closes all channels and the connection. `open` and `connect` begin anew. */
    close(): void;
    /** Another token, or none; a live connection is replaced by one of the new identity. */
    setToken(token: TokenSource | undefined): void;
    /** `status` for every step of the connection, `error` for what concerns no single channel. Returns what removes it. */
    on(event: "status", listener: (status: Status) => void): () => void;
    on(event: "error", listener: (error: FanfareError) => void): () => void;
}
