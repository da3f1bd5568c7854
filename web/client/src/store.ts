import type { QueueStore, StoredMessage } from "./types.js";

interface Row {
  seq?: number;
  key: string;
  owner: string;
  message: StoredMessage;
}

const locks = () => globalThis.navigator?.locks;

/**
 * Persistent queues in IndexedDB. Each page owns the rows it wrote and holds a Web Lock for its life; a page
 * takes over the rows of an owner whose lock is free, that is, whose page is gone. So two open pages never
 * send the same message. Where there are no Web Locks (plain http, other than localhost) every row is taken.
 */
export class IndexedDBStore implements QueueStore {
  readonly #owner = crypto.getRandomValues(new Uint32Array(4)).join("-");
  #db: Promise<IDBDatabase> | undefined;

  async load(key: string): Promise<StoredMessage[]> {
    const db = await this.#open();
    const others = new Set<string>();
    await this.#rows(db, "readonly", key, (row) => {
      if (row.owner !== this.#owner) others.add(row.owner);
    });
    for (const owner of others) {
      // In the lock, so that of two new pages only one finds the rows still with their old owner.
      await ifFree(owner, () =>
        this.#rows(db, "readwrite", key, (row, cursor) => {
          if (row.owner === owner) cursor.update({ ...row, owner: this.#owner });
        }),
      );
    }
    const found: StoredMessage[] = [];
    await this.#rows(db, "readonly", key, (row) => {
      if (row.owner === this.#owner) found.push(row.message);
    });
    return found;
  }

  async put(key: string, message: StoredMessage): Promise<void> {
    const db = await this.#open();
    let replaced = false;
    await this.#rows(
      db,
      "readwrite",
      key,
      (row, cursor) => {
        if (row.message.ref !== message.ref) return;
        replaced = true;
        cursor.update({ ...row, message });
      },
      (store) => {
        if (!replaced) store.add({ key, owner: this.#owner, message } satisfies Row);
      },
    );
  }

  async remove(key: string, ref: string): Promise<void> {
    await this.#rows(await this.#open(), "readwrite", key, (row, cursor) => {
      if (row.message.ref === ref) cursor.delete();
    });
  }

  /** Walks the rows of a key in the order they were added; settles when the transaction is complete. */
  #rows(
    db: IDBDatabase,
    mode: IDBTransactionMode,
    key: string,
    visit: (row: Row, cursor: IDBCursorWithValue) => void,
    end?: (store: IDBObjectStore) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const transaction = db.transaction("messages", mode);
      const store = transaction.objectStore("messages");
      const request = store.index("key").openCursor(key);
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) return end?.(store);
        visit(cursor.value, cursor);
        cursor.continue();
      };
      transaction.oncomplete = () => resolve();
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }

  #open(): Promise<IDBDatabase> {
    return (this.#db ??= new Promise((resolve, reject) => {
      // Held until the page goes away.
      void locks()?.request(name(this.#owner), () => new Promise(() => {}));
      const request = indexedDB.open("fanfare", 1);
      request.onupgradeneeded = () =>
        request.result.createObjectStore("messages", { keyPath: "seq", autoIncrement: true }).createIndex("key", "key");
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const db = request.result;
        db.onversionchange = () => db.close();
        resolve(db);
      };
    }));
  }
}

function ifFree(owner: string, task: () => Promise<void>): Promise<void> {
  const manager = locks();
  if (!manager) return task();
  return manager.request(name(owner), { ifAvailable: true }, (lock) => (lock ? task() : undefined)) as Promise<void>;
}

function name(owner: string): string {
  return "fanfare-queue:" + owner;
}
