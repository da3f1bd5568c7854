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
    const others = new Set<string>();
    await this.#rows("readonly", "key", key, (row) => {
      if (row.owner !== this.#owner) others.add(row.owner);
    });
    for (const owner of others) {
      // In the lock, so that of two new pages only one finds the rows still with their old owner.
      await ifFree(owner, () =>
        this.#rows("readwrite", "key", key, (row, cursor) => {
          if (row.owner === owner) cursor.update({ ...row, owner: this.#owner });
        }),
      );
    }
    const found: StoredMessage[] = [];
    await this.#rows("readonly", "key", key, (row) => {
      if (row.owner === this.#owner) found.push(row.message);
    });
    return found;
  }

  async put(key: string, message: StoredMessage): Promise<void> {
    let replaced = false;
    await this.#rows(
      "readwrite",
      "message.ref",
      message.ref,
      (row, cursor) => {
        replaced = true;
        cursor.update({ ...row, message });
      },
      (store) => {
        if (!replaced) store.add({ key, owner: this.#owner, message } satisfies Row);
      },
    );
  }

  async remove(_key: string, ref: string): Promise<void> {
    await this.#rows("readwrite", "message.ref", ref, (_row, cursor) => void cursor.delete());
  }

  /** Walks the rows an index finds, in the order they were added; settles when the transaction is complete. */
  async #rows(
    mode: IDBTransactionMode,
    index: string,
    value: string,
    visit: (row: Row, cursor: IDBCursorWithValue) => void,
    end?: (store: IDBObjectStore) => void,
  ): Promise<void> {
    const db = await this.#open();
    return new Promise((resolve, reject) => {
      const transaction = db.transaction("messages", mode);
      const store = transaction.objectStore("messages");
      const request = store.index(index).openCursor(value);
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
      request.onupgradeneeded = () => {
        const rows = request.result.createObjectStore("messages", { keyPath: "seq", autoIncrement: true });
        for (const index of ["key", "message.ref"]) rows.createIndex(index, index);
      };
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
