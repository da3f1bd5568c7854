/** When a JWT runs out, in Unix milliseconds; undefined for anything that does not say (encrypted tokens). */
export declare function expiry(token: string): number | undefined;
/** Whether the token can be a WebSocket subprotocol, which is how it travels. */
export declare function fits(token: string): boolean;
