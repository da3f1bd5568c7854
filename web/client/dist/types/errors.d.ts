/**
 * What promises are rejected with. `code` is the server's (`rate_limited`, `not_joined`, …) or one of ours:
 *
 * - `closed`: the channel was closed before the answer came
 * - `not_open`: the channel is not connected and has no queue
 * - `queue_full`: too many messages wait
 * - `unknown_outcome`: the connection was lost after the message had been sent
 * - `ended`: the server sent this client away for good
 * - `invalid_url`, `invalid_token`, `invalid_options`, `invalid_payload`: the caller's mistake
 * - `token_failed`: the token callback failed
 * - `storage_failed`: a persistent queue could not be kept; it goes on in memory
 */
export declare class FanfareError extends Error {
    name: string;
    readonly code: string;
    readonly channel: string | undefined;
    /** Seconds to wait before trying again, when the server said so. */
    readonly retryAfter: number | undefined;
    constructor(code: string, message: string, channel?: string, retryAfter?: number);
}
