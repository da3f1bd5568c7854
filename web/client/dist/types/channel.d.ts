import type { Ack, ChannelEvents, Frame, HistoryPage, HistoryRange, JoinInfo, Member, Pending, Position, QueueStore, SendOptions } from "./types.js";
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
/**
 * One channel, or pattern, of a connection. It is joined while it is open and the connection is up, and joined
 * again after each reconnect, resuming where it was. Made by `Fanfare.channel`.
 */
export declare class Channel {
    #private;
    readonly name: string;
    /** Whether the server has confirmed that this client is on the channel, now. */
    get joined(): boolean;
    /** Whether the channel was opened and not closed since; it may be disconnected. */
    get isOpen(): boolean;
    /** This client as others see it; its `socketId` changes with every connection. */
    get self(): Member | undefined;
    /** The newest place in the channel's history that was seen; undefined where there is no history. */
    get position(): Position | undefined;
    /** Messages that wait to be sent or acknowledged, oldest first. */
    pending(): Pending[];
    /**
     * Joins the channel and keeps it joined. Settles with the server's answer; a refusal rejects, and the channel
     * is closed then. Opening an open channel changes nothing.
     */
    open(): Promise<JoinInfo>;
    /**
     * Leaves the channel. Messages that were sent still get their answer; those that wait are rejected with
     * `closed`, and a persistent queue keeps them for the next open.
     */
    close(): void;
    /** Sends any JSON value. Settles when the server has accepted it, rejects when it has refused it. */
    send(payload: unknown, options?: SendOptions): Promise<Ack>;
    /** Reads stored messages: the latest ones, or those of a range. */
    history(range?: HistoryRange): Promise<HistoryPage>;
    /** The members as last told by the server; empty unless the channel was made with `presence`. */
    presence(): Member[];
    /**
     * Sets this client's presence data (at most 4 KiB); null clears it. It is set again after each reconnect. On a
     * pattern it does nothing.
     */
    setPresence(data: object | null): void;
    /** Adds a listener for one event, or for all. Returns what removes it. */
    on(listener: (frame: Frame) => void): () => void;
    on<K extends keyof ChannelEvents>(event: K, listener: (frame: ChannelEvents[K]) => void): () => void;
}
