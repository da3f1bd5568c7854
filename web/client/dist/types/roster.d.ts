import type { Member } from "./types.js";
/** The members of a channel as last told by the server, and this client's own presence data. */
export declare class Roster {
    #private;
    /** Hands the data to the socket; false when the channel is not joined. */
    private readonly send;
    constructor(
    /** Hands the data to the socket; false when the channel is not joined. */
    send: (data: object | null) => boolean);
    list(): Member[];
    fill(members: Member[]): void;
    change(action: "join" | "leave" | "update", member: Member): void;
    set(data: object | null): void;
    /** A new membership: the server does not know our data. */
    joined(self: string | undefined): void;
    /** The socket is gone. */
    rest(): void;
}
