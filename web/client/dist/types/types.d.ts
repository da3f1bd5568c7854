/** A member of a channel, and the sender of a message. `socketId` changes with every connection. */
export interface Member {
    socketId: string;
    /** What the token carries about the user; `{}` for anonymous clients. */
    extras: Record<string, unknown>;
    /** Both 0 for anonymous clients. */
    permissions: {
        dbo_id: number;
        row_id: number | string;
    };
    /** Presence data set by the member with `setPresence`. */
    data?: Record<string, unknown>;
    /** For subscribers of a pattern: the channel the member is on. */
    source?: string;
}
export interface FrameOptions {
    channel?: string;
    authenticated?: boolean;
    /** The recipient of a private message. */
    socketId?: string | null;
    /** Unique per publication. */
    id?: string;
    /** Where the publication stands in the channel's history. Compare for equality only. */
    offset?: string;
    epoch?: string;
    /** For subscribers of a pattern: the channel the frame comes from. */
    source?: string;
    ref?: string;
    [key: string]: unknown;
}
/** One frame as it came from the server. */
export interface Frame<P = unknown> {
    action: string;
    options: FrameOptions;
    client?: Member | null;
    payload: P;
}
export interface StatusPayload {
    status: "connected" | "disconnected";
    /** With `disconnected`: the close code of the socket. */
    code?: number;
}
export interface ErrorPayload {
    code: string;
    message: string;
    /** Seconds to wait before trying again. */
    retry_after?: number;
}
/** What listeners get, by event name. `all` gets every frame but acknowledgements. */
export interface ChannelEvents {
    all: Frame;
    connection_status: Frame<StatusPayload>;
    presence_full: Frame<{
        presence: Member[];
    }>;
    presence_update: Frame<{
        action: "join" | "leave" | "update";
        presence: Member;
    }>;
    message: Frame;
    event: Frame<{
        data: unknown;
        dbo_id: number;
        row_id: number | string;
    }>;
    history: Frame<{
        history: Frame[];
        more?: boolean;
    }>;
    error: Frame<ErrorPayload>;
    /** Not one of the seeds' events: the answer to every join, telling whether a resume was whole. */
    join: Frame<{
        resumed: boolean;
    } | null>;
    /** Not one of the seeds' events: how many messages wait in the queue. */
    queue: Frame<{
        size: number;
    }>;
}
/** A place in a channel's history. Keep it to resume after a reload of the page. */
export interface Position {
    offset: string;
    epoch: string;
}
export interface ChannelOptions {
    /** Ask for the list of members and its changes. Default false. */
    presence?: boolean;
    /** Ask for the channel's history when it is opened. Default false. */
    history?: boolean;
    /**
     * What happens to messages while the channel is not connected:
     * `false` refuses them, `"memory"` (default) keeps them for the life of the page, `"persistent"` keeps them
     * in IndexedDB, where they outlive a reload.
     */
    queue?: false | "memory" | "persistent";
    /** How many messages may wait; more are refused with `queue_full`. Default 1000. */
    queueLimit?: number;
    /** Where to resume from at the first open, e.g. kept from before a reload. */
    position?: Position;
}
export interface SendOptions {
    /** Only authenticated members get it. */
    authenticated?: boolean;
    /** The `socketId` of the only member who gets it. */
    to?: string;
}
/** The server has accepted a message; with `offset`, it has stored it. */
export interface Ack {
    id: string;
    offset?: string;
}
export interface JoinInfo {
    /** This client as others see it. */
    self: Member | undefined;
    /** Undefined unless the channel was resumed; false when something may have been missed. */
    resumed: boolean | undefined;
}
export interface HistoryRange {
    limit?: number;
    /** The nearest ones older than this offset. */
    before?: string;
    /** The oldest ones newer than this offset. */
    after?: string;
    /** RFC 3339 or Unix milliseconds. */
    since?: string | number;
}
export interface HistoryPage {
    /** Oldest first. */
    items: Frame[];
    /** There are more in the direction that was asked for. */
    more: boolean;
}
/** A message that waits to be sent or acknowledged. */
export interface Pending {
    ref: string;
    payload: unknown;
    options: SendOptions;
    /** Unix milliseconds. */
    at: number;
}
export type State = "idle" | "connecting" | "connected" | "waiting" | "ended";
export interface Status {
    state: State;
    /** With `waiting` and `ended`: the close code of the last socket. */
    code?: number;
    /** With `waiting`: milliseconds until the next attempt. */
    retryIn?: number;
    error?: Error;
}
export type TokenSource = string | (() => string | null | undefined | Promise<string | null | undefined>);
export interface FanfareOptions {
    /** Address of a realtime server: `wss://host[:port]/rt/{hash}`; `ws`, `https` and `http` work as well. */
    url: string;
    /** A token, or what fetches one; a function is asked at every connect and again before the token expires. */
    token?: TokenSource;
    /** How long before its expiry a token is replaced, in milliseconds. Default 30000. */
    refreshBefore?: number;
    /** Bounds of the back-off between attempts, in milliseconds. Default 500 and 30000. */
    backoff?: {
        min?: number;
        max?: number;
    };
    /** How long an attempt to connect, or an acknowledgement, may take, in milliseconds. Default 15000. */
    timeout?: number;
    /** After this much silence the connection is probed, in milliseconds; 0 never. Default 45000. */
    heartbeat?: number;
    /** Another WebSocket implementation, e.g. `ws` in Node before 22. */
    WebSocket?: WebSocketConstructor;
    /** Another place for persistent queues than IndexedDB. */
    store?: QueueStore;
}
/** What the client needs of a WebSocket. */
export interface WebSocketLike {
    readonly readyState: number;
    onopen: ((event: any) => unknown) | null;
    onmessage: ((event: any) => unknown) | null;
    onclose: ((event: any) => unknown) | null;
    onerror: ((event: any) => unknown) | null;
    send(data: string): void;
    close(code?: number, reason?: string): void;
}
export type WebSocketConstructor = new (url: string, protocols?: string[]) => WebSocketLike;
/** One message in a persistent queue. */
export interface StoredMessage {
    ref: string;
    payload: unknown;
    options: SendOptions;
    at: number;
    /** The sockets it was sent on, and the position before the first time. */
    sockets?: string[];
    after?: string;
}
/** Keeps the messages of persistent queues. Calls for one key are made one after the other. */
export interface QueueStore {
    /** Everything kept under the key that no other page is responsible for, oldest first. */
    load(key: string): Promise<StoredMessage[]>;
    /** Adds or replaces the message with this ref. */
    put(key: string, message: StoredMessage): Promise<void>;
    remove(key: string, ref: string): Promise<void>;
}
