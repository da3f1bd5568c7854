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
/**
 * The messages of a channel on their way to the server, in order. A message leaves the outbox when it was
 * acknowledged or refused for good. After any trouble messages go one at a time until the outbox is empty:
 * only so does the order hold when one of them has to be repeated.
 */
export declare class Outbox {
    #private;
    private readonly courier;
    private readonly mode;
    private readonly limit;
    private readonly timeout;
    private readonly store;
    private readonly key;
    constructor(courier: Courier, mode: false | "memory" | "persistent", limit: number, timeout: number, store: QueueStore, key: string);
    get size(): number;
    get busy(): boolean;
    pending(): Pending[];
    add(payload: unknown, options: SendOptions): Promise<Ack>;
    /** Reads what an earlier page left; once. */
    load(): Promise<void>;
    /** The channel is joined. What is still to be read or cleared up holds the messages back. */
    opened(): void;
    /** Nothing leaves until the channel is joined again. */
    pause(): void;
    /** The socket is gone. */
    lost(code: number): void;
    /**
     * The channel is closed. What waits is given up (a persistent queue keeps it for the next open), what was
     * sent still gets its answer.
     */
    stop(code: string, text: string): void;
    acked(ref: string | undefined, ack: Ack): void;
    /** An error that names a message. False when it is none of ours, or when the application need not know. */
    refused(ref: string, error: ErrorPayload): boolean;
}
