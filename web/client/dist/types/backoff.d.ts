/** Exponential back-off; each delay is jittered so that clients cut off together do not return together. */
export declare class Backoff {
    #private;
    private readonly min;
    private readonly max;
    constructor(min: number, max: number);
    /** The next delay in milliseconds: between half and all of min, 2 min, 4 min, … max. */
    next(): number;
    reset(): void;
}
