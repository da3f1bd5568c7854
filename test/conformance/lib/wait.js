'use strict';
// Waiting for conditions. Nothing in this suite sleeps in the hope that something has happened meanwhile.

const { isDeepStrictEqual, inspect } = require('node:util');

const DEFAULT_TIMEOUT = 20_000;

/** Polls until the (possibly asynchronous) condition gives something truthy, which is returned. */
async function until(what, condition, { timeout = DEFAULT_TIMEOUT, every = 10 } = {}) {
  const end = performance.now() + timeout;
  let last;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
      last = undefined;
    } catch (err) {
      last = err;
    }
    if (performance.now() > end) {
      throw new Error(`waited ${timeout} ms in vain for: ${what}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

/**
 * Lets a stated span pass. Only for spans that are themselves the matter of a test, such as "no further
 * attempt within five seconds".
 */
function span(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Whether every key of pattern is in value, at every depth; arrays must match as a whole. */
function matches(value, pattern) {
  if (typeof pattern === 'function') return Boolean(pattern(value));
  if (pattern === null || typeof pattern !== 'object') return Object.is(value, pattern);
  if (value === null || typeof value !== 'object') return false;
  if (Array.isArray(pattern)) return isDeepStrictEqual(value, pattern);
  return Object.keys(pattern).every((key) => matches(value[key], pattern[key]));
}

/** An append-only list of things that came in, which can be waited on. */
class Log {
  constructor(name) {
    this.name = name;
    this.items = [];
    this.waiters = new Set();
  }

  get length() {
    return this.items.length;
  }

  push(item) {
    this.items.push(item);
    for (const wake of [...this.waiters]) wake();
  }

  /** Those that match, from an index on. */
  filter(pattern, from = 0) {
    return this.items.slice(from).filter((item) => matches(item, pattern));
  }

  /** The first one that matches, from an index on, waiting for it when it has not come yet. */
  async wait(pattern, { from = 0, timeout = DEFAULT_TIMEOUT, count = 1, what } = {}) {
    const found = await this.waitMany(pattern, { from, timeout, count, what });
    return found[count - 1];
  }

  /** The first `count` that match. */
  waitMany(pattern, { from = 0, timeout = DEFAULT_TIMEOUT, count = 1, what } = {}) {
    const found = [];
    let next = from;
    const scan = () => {
      for (; next < this.items.length && found.length < count; next++) {
        if (matches(this.items[next], pattern)) found.push(this.items[next]);
      }
      return found.length >= count;
    };
    if (scan()) return Promise.resolve(found);
    const stack = new Error();
    return new Promise((resolve, reject) => {
      const done = () => {
        clearTimeout(timer);
        this.waiters.delete(wake);
      };
      const wake = () => {
        try {
          if (!scan()) return;
        } catch (err) {
          done();
          return reject(err);
        }
        done();
        resolve(found);
      };
      const timer = setTimeout(() => {
        done();
        const seen = this.items.slice(Math.max(from, this.items.length - 12));
        stack.message =
          `${this.name}: waited ${timeout} ms in vain for ${what ?? inspect(pattern, { depth: 6 })}` +
          (count > 1 ? ` (${found.length} of ${count} came)` : '') +
          `; the last of ${this.items.length - from} that came:\n` +
          inspect(seen, { depth: 8, breakLength: 160, maxStringLength: 300, maxArrayLength: 12 });
        reject(stack);
      }, timeout);
      this.waiters.add(wake);
    });
  }
}

module.exports = { until, span, matches, Log, DEFAULT_TIMEOUT };
