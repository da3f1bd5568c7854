'use strict';
// The SDK's browser bundle (3.0.1, dist/xano.min.js) in headless Chromium, over wss, on a page of another origin.

const { test, before, after, afterEach } = require('node:test');
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const https = require('node:https');
const { once } = require('node:events');
const { certificate } = require('../lib/certificate');
const { browser } = require('../lib/browser');
const { Server, newHash } = require('../lib/server');
const { mint, now } = require('../lib/token');
const { open, rule } = require('../lib/rules');
const { until } = require('../lib/wait');

let cert;
let server;
let rt;
let site;
let chrome;
const pages = [];

before(async () => {
  cert = certificate({ names: ['xano.test', 'app.test', 'localhost'] });
  server = await Server.start({ tls: { ...cert, host: '127.0.0.1' }, env: { FANFARE_DRAIN: '200ms' } });
  rt = await server.realtime([
    open('room1', { history: 25, client_private_messaging: true, client_authenticated_messaging: true }),
    open('room2'),
    rule('members', { presence: true, client_public_messaging: true }),
  ]);
  const bundle = readFileSync(require.resolve('@xano/js-sdk/dist/xano.min.js'));
  site = https.createServer({ cert: readFileSync(cert.cert), key: readFileSync(cert.key) }, (req, res) => {
    if (req.url === '/xano.min.js') {
      res.setHeader('content-type', 'text/javascript');
      res.end(bundle);
    } else {
      res.setHeader('content-type', 'text/html; charset=utf-8');
      res.end('<!doctype html><title>page</title><script src="/xano.min.js"></script>');
    }
  });
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  chrome = await browser({ 'xano.test': `127.0.0.1:${server.port}`, 'app.test': `127.0.0.1:${site.address().port}` });
}, { timeout: 180_000 });

afterEach(async () => {
  await Promise.all(pages.splice(0).map((p) => p.page.close()));
  await server.closeClients();
  server.assertHealthy();
});

after(async () => {
  await chrome?.close();
  site?.closeAllConnections();
  site?.close();
  await server?.close();
  cert?.remove();
});

/** A page with the SDK and, in window.seen, what the listeners of each opened channel got. */
class Page {
  static async open({ token, hash = rt.hash } = {}) {
    const self = new Page();
    self.page = await chrome.context.newPage();
    pages.push(self);
    self.problems = [];
    self.sockets = [];
    self.page.on('pageerror', (err) => self.problems.push(String(err)));
    self.page.on('websocket', (socket) => {
      const record = { url: socket.url(), received: [], closed: false };
      socket.on('framereceived', ({ payload }) => record.received.push(payload));
      socket.on('close', () => { record.closed = true; });
      self.sockets.push(record);
    });
    await self.page.goto('https://app.test/');
    await self.page.evaluate(({ hash: connection, token: t }) => {
      window.xano = new XanoClient({
        instanceBaseUrl: 'https://xano.test/', realtimeConnectionCanonical: connection, realtimeAuthToken: t ?? null, storage: new XanoObjectStorage(),
      });
      window.channels = {};
      window.seen = {};
      window.prepare = (name, options) => {
        window.channels[name] = window.xano.channel(name, options);
        window.seen[name] = { frames: [], errors: [] };
      };
      window.listen = (name) => {
        const { frames, errors } = window.seen[name];
        const plain = (f) => JSON.parse(JSON.stringify(f));
        window.channels[name].on((f) => frames.push(plain(f)), (f) => errors.push(plain(f)));
      };
    }, { hash, token });
    return self;
  }

  async openChannel(name, options = {}) {
    await this.page.evaluate(([n, o]) => { window.prepare(n, o); window.listen(n); }, [name, options]);
    return this;
  }

  /** Waits for a frame (or error) whose source text of a predicate holds; gives the frame. */
  async wait(name, predicate, { list = 'frames', from = 0, timeout = 20_000 } = {}) {
    const handle = await this.page.waitForFunction(
      ([n, source, l, f]) => {
        const test = new Function('f', `return (${source})(f)`);
        return window.seen[n]?.[l].slice(f).find(test) ?? false;
      },
      [name, predicate.toString(), list, from], { timeout, polling: 20 },
    ).catch(async (err) => {
      throw new Error(`page waited in vain for ${predicate} in ${list} of ${name}: ${JSON.stringify(await this.seen(name)).slice(0, 3000)}`, { cause: err });
    });
    return handle.jsonValue();
  }

  seen(name) {
    return this.page.evaluate((n) => window.seen[n], name);
  }

  message(name, payload, options) {
    return this.page.evaluate(([n, p, o]) => window.channels[n].message(p, o ?? undefined), [name, payload, options]);
  }

  presence(name) {
    return this.page.evaluate((n) => window.channels[n].getPresence().map(({ socketId, extras, permissions }) => ({ socketId, extras, permissions })), name);
  }
}

test('two pages chat: presence, history, echo, private, the sender\'s identity by subprotocol token', async () => {
  const a = await Page.open({ token: mint({ row_id: 5, extras: { name: 'Ada' } }) });
  const b = await Page.open();
  await a.openChannel('room1', { presence: true, history: true });
  await a.wait('room1', (f) => f.action === 'history');
  await b.openChannel('room1', { presence: true, history: true });
  await b.wait('room1', (f) => f.action === 'presence_full' && f.payload.presence.length === 2);
  await a.wait('room1', (f) => f.action === 'presence_update' && f.payload.action === 'join');

  await a.message('room1', { text: 'hello from Chromium ü🎺' });
  const got = await b.wait('room1', (f) => f.action === 'message');
  assert.deepEqual(got.payload, { text: 'hello from Chromium ü🎺' });
  assert.deepEqual([got.client.extras, got.client.permissions], [{ name: 'Ada' }, { dbo_id: 17, row_id: 5 }]);
  await a.wait('room1', (f) => f.action === 'message');

  const others = await b.presence('room1');
  assert.deepEqual(others.map((c) => c.extras.name).filter(Boolean), ['Ada']);
  await b.page.evaluate(() => window.channels.room1.getPresence().find((c) => c.extras.name === 'Ada').message('psst'));
  const psst = await a.wait('room1', (f) => f.action === 'message' && f.payload === 'psst');
  assert.equal(psst.options.socketId, others.find((c) => c.extras.name === 'Ada').socketId);

  const before = (await b.seen('room1')).frames.length;
  await b.page.evaluate(() => window.channels.room1.history());
  const history = await b.wait('room1', (f) => f.action === 'history', { from: before });
  assert.deepEqual(history.payload.history.map((f) => f.payload.text), ['hello from Chromium ü🎺']);

  assert.equal(a.sockets[0].url, `wss://xano.test/rt/${rt.hash}`);
  for (const page of [a, b]) {
    assert.deepEqual(page.problems, []);
    for (const text of page.sockets[0].received) assert.equal(typeof text, 'string', 'text frames only');
    assert.equal(page.sockets[0].received.some((t) => t.includes('connection_status')), false);
  }
  await b.page.close();
  await a.wait('room1', (f) => f.action === 'presence_update' && f.payload.action === 'leave');
  assert.equal((await a.presence('room1')).length, 1);
});

test('an error reaches the error callback of its channel only', async () => {
  const page = await Page.open();
  await page.page.evaluate(() => {
    window.prepare('room2', {});
    window.prepare('members', { presence: true });
    window.listen('room2');
    window.listen('members');
  });
  const error = await page.wait('members', (f) => f.action === 'error', { list: 'errors' });
  assert.equal(error.payload.message, 'Anonymous clients cannot join this channel.');
  await page.message('room2', 'fine');
  await page.wait('room2', (f) => f.action === 'message');
  assert.deepEqual((await page.seen('room2')).errors, []);
});

test('messages typed before the line is open arrive once, in order', async () => {
  const page = await Page.open();
  await page.page.evaluate(() => {
    window.prepare('room2', { queueOfflineActions: true });
    window.listen('room2');
    for (const n of [1, 2, 3]) window.channels.room2.message(n);
  });
  await page.wait('room2', (f) => f.action === 'message' && f.payload === 3);
  assert.deepEqual((await page.seen('room2')).frames.filter((f) => f.action === 'message').map((f) => f.payload), [1, 2, 3]);
});

test('a token that is none: anonymous and told; then a good one by realtimeReconnect', async () => {
  const page = await Page.open({ token: mint({ row_id: 6, exp: now() - 10 }) });
  await page.openChannel('room1', { presence: true });
  const error = await page.wait('room1', (f) => f.action === 'error', { list: 'errors' });
  assert.equal(error.payload.message, 'Authentication failed.');
  const join = await page.wait('room1', (f) => f.action === 'join');
  assert.deepEqual(join.client.permissions, { dbo_id: 0, row_id: 0 });
  const from = (await page.seen('room1')).frames.length;
  await page.page.evaluate((t) => {
    window.xano.setRealtimeAuthToken(t);
    window.xano.realtimeReconnect();
  }, mint({ row_id: 6 }));
  const again = await page.wait('room1', (f) => f.action === 'join', { from });
  assert.deepEqual(again.client.permissions, { dbo_id: 17, row_id: 6 });
  const statuses = (await page.seen('room1')).frames.filter((f) => f.action === 'connection_status').map((f) => f.payload.status);
  assert.deepEqual(statuses, ['connected', 'disconnected', 'connected']);
});

test('an unknown hash: the error, disconnected, and no further attempt', async () => {
  const page = await Page.open({ hash: newHash() });
  await page.openChannel('room1');
  await page.wait('room1', (f) => f.action === 'error' && f.payload.code === 'unknown_hash', { list: 'errors' });
  await page.wait('room1', (f) => f.action === 'connection_status' && f.payload.status === 'disconnected');
  await new Promise((resolve) => setTimeout(resolve, 2500)); // more than two retry intervals
  assert.equal(page.sockets.length, 1);
});

test('closing the only channel closes the socket without a disconnected event', async () => {
  const page = await Page.open();
  await page.openChannel('room2');
  await page.wait('room2', (f) => f.action === 'join');
  await page.page.evaluate(() => window.channels.room2.destroy());
  await until('the socket to be closed', () => page.sockets[0].closed);
  assert.equal(page.sockets[0].closed, true);
  const statuses = (await page.seen('room2')).frames.filter((f) => f.action === 'connection_status').map((f) => f.payload.status);
  assert.deepEqual(statuses, ['connected']);
});

test('the server restarts: both pages are back, joined, and hear each other', { timeout: 180_000 }, async () => {
  const a = await Page.open();
  const b = await Page.open({ token: mint({ row_id: 7 }) });
  for (const page of [a, b]) {
    await page.openChannel('room1', { presence: true, history: true });
    await page.wait('room1', (f) => f.action === 'history');
  }
  const from = [(await a.seen('room1')).frames.length, (await b.seen('room1')).frames.length];
  await server.stop();
  await server.restart();
  for (const [i, page] of [a, b].entries()) await page.wait('room1', (f) => f.action === 'history', { from: from[i] });
  await a.message('room1', 'after the restart');
  await b.wait('room1', (f) => f.action === 'message' && f.payload === 'after the restart', { from: from[1] });
  const ids = (list) => list.map((c) => c.socketId).sort();
  // Each hears of the other on its own.
  await until('both to see the two', async () => {
    const [one, two] = [ids(await a.presence('room1')), ids(await b.presence('room1'))];
    return one.length === 2 && one.join() === two.join();
  });
});
