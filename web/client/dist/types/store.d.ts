import type { QueueStore, StoredMessage } from "./types.js";
/**
 * Persistent queues in IndexedDB. Each page owns the rows it wrote and holds a Web Lock for its life; a page
 * takes over the rows of an owner whose lock is free, that is, whose page is gone. So two open pages never
 * send the same message. Where there are no Web Locks (plain http, other than localhost) every row is taken.
 */
export declare class IndexedDBStore implements QueueStore {
    #private;
    load(key: string): Promise<StoredMessage[]>;
    put(key: string, message: StoredMessage): Promise<void>;
    remove(_key: string, ref: string): Promise<void>;
}
