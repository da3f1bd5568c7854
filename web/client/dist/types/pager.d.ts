import type { FanfareError } from "./errors.js";
import type { Frame, HistoryPage, HistoryRange } from "./types.js";
/**
 * The history requests of a channel. Answers name no request, so there is never more than one under way; what a
 * lost socket left unanswered is asked again.
 */
export declare class Pager {
    #private;
    /** Hands a request to the socket; false when the channel is not joined. */
    private readonly send;
    private readonly stalled;
    private readonly timeout;
    constructor(
    /** Hands a request to the socket; false when the channel is not joined. */
    send: (range: object) => boolean, stalled: () => void, timeout: number);
    /** A quiet request is our own: its answer is no event. */
    read(range: HistoryRange, quiet?: boolean): Promise<HistoryPage>;
    next(): void;
    /** True when the application should hear of the answer. */
    answered({ history, more }: {
        history: Frame[];
        more?: boolean;
    }): boolean;
    /** An error that may be the answer. True when the application should hear of it. */
    failed(error: FanfareError): boolean;
    /** The socket is gone. */
    rest(): void;
    close(error: FanfareError): void;
}
