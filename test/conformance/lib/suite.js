'use strict';
// What every test file begins with: one server for the file, and clients that go when their test ends.

const { before, after, afterEach } = require('node:test');
const assert = require('node:assert/strict');
const { Server } = require('./server');

/**
 * Registers hooks that start a server before and end it after the file (or describe block) they are called in.
 * setup(server) runs once; what it returns is merged into the object this gives back. Clients are closed after
 * each test; keepClients leaves them, for tests that run side by side.
 */
function serve(options, setup, { keepClients = false } = {}) {
  const suite = { server: undefined };
  before(async () => {
    suite.server = await Server.shared(options);
    Object.assign(suite, await setup?.(suite.server));
  }, { timeout: 150_000 });
  afterEach(async () => {
    if (!keepClients) await suite.server?.closeClients();
    suite.server?.assertHealthy();
  });
  after(async () => {
    await suite.server?.close();
  }, { timeout: 60_000 });
  return suite;
}

/** Closes all of them, and fails when one of them was not healthy. */
async function closeAll(servers) {
  const results = await Promise.allSettled(servers.map((server) => server.close()));
  const failed = results.find((r) => r.status === 'rejected');
  if (failed) throw failed.reason;
}

/** Fails unless the frame is an error of this code (and text, where the text is laid down). */
function assertError(frame, code, message, channel) {
  assert.equal(frame.action, 'error', `not an error: ${JSON.stringify(frame)}`);
  if (message !== undefined) assert.equal(frame.payload.message, message);
  else assert.equal(typeof frame.payload.message, 'string');
  if (code !== undefined) assert.equal(frame.payload.code, code);
  else assert.match(frame.payload.code, /^[a-z][a-z0-9_]*$/);
  if (channel !== undefined) assert.equal(frame.options?.channel, channel);
}

/** Sender object of an anonymous client. */
function assertAnonymous(client) {
  assert.deepEqual(client, { socketId: client.socketId, extras: {}, permissions: { dbo_id: 0, row_id: 0 } });
  assertSocketId(client.socketId);
}

/** 21 to 26 URL-safe characters (xano-realtime.md 12.25). */
function assertSocketId(id) {
  assert.match(id, /^[A-Za-z0-9_-]{21,26}$/);
}

const tick = (n) => Array.from({ length: n }, (_, i) => i);

module.exports = { closeAll, serve, assertError, assertAnonymous, assertSocketId, tick };
