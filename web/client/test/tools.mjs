import assert from "node:assert/strict";
import WebSocket from "ws";
import { Fanfare } from "../dist/fanfare.js";

/** Polls until the condition holds. */
export async function until(condition, what = String(condition), limit = 30_000) {
  const end = Date.now() + limit;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) assert.fail("not in time: " + what);
    await new Promise((done) => setTimeout(done, 2));
  }
}

/** A client for tests: quick to come back. */
export function connect(url, options = {}) {
  return new Fanfare({ url, WebSocket, backoff: { min: 10, max: 50 }, timeout: 3000, ...options });
}

/** Collects what a listener gets. */
export function record(target, event) {
  const list = [];
  target.on(event, (value) => list.push(value));
  return list;
}

/** A persistent store that outlives clients: a page's IndexedDB without the page. */
export class MemoryStore {
  rows = [];
  async load(key) {
    return this.rows.filter((row) => row.key === key).map((row) => row.message);
  }
  async put(key, message) {
    const row = this.rows.find((row) => row.key === key && row.message.ref === message.ref);
    if (row) row.message = message;
    else this.rows.push({ key, message });
  }
  async remove(key, ref) {
    this.rows = this.rows.filter((row) => row.key !== key || row.message.ref !== ref);
  }
}

export function code(expected) {
  return (error) => {
    assert.equal(error.name, "FanfareError");
    assert.equal(error.code, expected);
    return true;
  };
}

/** Settles when the client reaches the state, however shortly. */
export function reached(client, state) {
  return new Promise((done) => {
    const off = client.on("status", (status) => {
      if (status.state !== state) return;
      off();
      done();
    });
  });
}
