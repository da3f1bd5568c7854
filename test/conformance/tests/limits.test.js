'use strict';
// The limits of design.md 8, each with a server of its own that has it low or at its default, side by side.

const { test, describe, after } = require('node:test');
const assert = require('node:assert/strict');
const net = require('node:net');
const { Server } = require('../lib/server');
const { VERSIONS } = require('../lib/sdk');
const { open, nested } = require('../lib/rules');
const { closeAll, assertError, tick } = require('../lib/suite');
const { until, span } = require('../lib/wait');

const servers = [];
after(async () => {
  await closeAll(servers);
});

async function fresh(env, rules = [nested('n', { history: 25 }), open('room1')]) {
  const server = await Server.start({ env });
  servers.push(server);
  return { server, rt: await server.realtime(rules) };
}

async function alive(rt) {
  const client = await rt.raw();
  await client.joined('room1');
  client.message('room1', 'alive');
  await client.wait({ payload: 'alive' });
  await client.close();
}

describe('limits', { concurrency: 4 }, () => {
  test('1000 joins: 128 are answered, the others get an error; leaving makes room', async () => {
    const { rt } = await fresh({});
    const client = await rt.raw();
    for (const i of tick(1000)) client.send({ action: 'join', options: { channel: `n/${i}` }, payload: { history: false, presence: false } });
    const joins = (await client.frames.waitMany((f) => f.action === 'join' || f.action === 'error', { count: 1000 }));
    assert.equal(joins.filter((f) => f.action === 'join').length, 128);
    for (const error of joins.slice(128)) assertError(error, 'too_many_channels');
    assert.equal(joins[128].options.channel, 'n/128');
    await client.joined('n/5', { history: true }); // a second join of the same needs no room
    client.leave('n/0');
    await client.joined('n/999');
    assert.equal((await client.join('n/0')).error.code, 'too_many_channels');
    await alive(rt);
  });

  test('a flood: rate_limited with retry_after, told once a second; a burst of 200 is fine', async () => {
    const { rt } = await fresh({ FANFARE_LIMITS_FRAMES_PER_SECOND: '100', FANFARE_LIMITS_FRAMES_BURST: '200' });
    const quiet = await rt.raw();
    await quiet.joined('room1');
    const client = await rt.raw();
    await client.joined('room1');
    for (const i of tick(180)) client.message('room1', i);
    await client.frames.waitMany({ action: 'message' }, { count: 180 });
    assert.equal(client.frames.filter({ action: 'error' }).length, 0);
    const from = client.mark;
    const started = performance.now();
    for (const i of tick(2000)) client.message('room1', `flood ${i}`);
    const first = await client.wait({ action: 'error' }, { from });
    assertError(first, 'rate_limited');
    assert.ok(first.payload.retry_after > 0 && first.payload.retry_after <= 60, String(first.payload.retry_after));
    await until('the socket to be heard again', async () => {
      const answer = await client.publish('room1', 'later');
      return answer.action === 'ack';
    }, { every: 300 });
    const seconds = (performance.now() - started) / 1000;
    const told = client.since(from, (f) => f.action === 'error' && !f.options?.ref).length;
    assert.ok(told <= seconds + 2, `told ${told} times in ${seconds} s`);
    assert.equal(client.closed, undefined);
    quiet.message('room1', 'others are heard');
    await quiet.wait({ payload: 'others are heard' });
  });

  test('messages with a ref are always answered, in a flood too', async () => {
    const { rt } = await fresh({ FANFARE_LIMITS_FRAMES_PER_SECOND: '100', FANFARE_LIMITS_FRAMES_BURST: '200' });
    const client = await rt.raw();
    await client.joined('room1');
    const started = performance.now();
    for (const i of tick(800)) client.message('room1', i, { ref: `r${i}` });
    const answers = await client.frames.waitMany((f) => (f.action === 'ack' || f.action === 'error') && f.options?.ref, { count: 800 });
    assert.equal(new Set(answers.map((f) => f.options.ref)).size, 800);
    for (const f of answers.filter((a) => a.action === 'error')) assertError(f, 'rate_limited');
    const acked = answers.filter((a) => a.action === 'ack').length;
    const seconds = (performance.now() - started) / 1000; // in which the burst is filled up again
    assert.ok(acked >= 190 && acked < Math.max(500, 300 + 100 * seconds), `${acked} acknowledged in ${seconds} s`);
    await client.frames.waitMany({ action: 'message' }, { count: acked }); // an answer does not wait for the channel's next flush
    const fence = await rt.raw();
    await fence.joined('room1');
    await fence.published('room1', 'fence');
    await client.wait({ action: 'message', payload: 'fence' });
    assert.equal(client.frames.filter({ action: 'message' }).length, acked + 1, 'what was not acknowledged did not happen');
  });

  test('a flood that goes on for 10 s is closed with 1013', { timeout: 90_000 }, async () => {
    const { rt } = await fresh({ FANFARE_LIMITS_FRAMES_PER_SECOND: '20', FANFARE_LIMITS_FRAMES_BURST: '20' });
    const client = await rt.raw();
    await client.joined('room1');
    const started = performance.now();
    const timer = setInterval(() => {
      if (!client.closed && client.socket.bufferedAmount < 100_000) for (const i of tick(20)) client.message('room1', i);
    }, 50);
    const closed = await Promise.race([client.ended, span(60_000)]);
    clearInterval(timer);
    assert.equal(closed?.code, 1013);
    const seconds = (closed.at - started) / 1000;
    assert.ok(seconds > 8, `after ${seconds} s`);
    await alive(rt);
  });

  test('a slow consumer is cut off with 1013 or a dropped connection; others miss nothing and presence tells', { timeout: 60_000 }, async () => {
    const { rt } = await fresh({ FANFARE_LIMITS_BACKLOG_BYTES: '65536', FANFARE_LIMITS_WRITE_TIMEOUT: '2s' });
    const watcher = await rt.raw({ name: 'watcher' });
    await watcher.joined('room1', { presence: true });
    const slow = await rt.raw({ name: 'slow' });
    await slow.joined('room1');
    const writer = await rt.raw({ name: 'writer' });
    await writer.joined('room1');
    slow.socket._socket.pause();
    const filler = 'x'.repeat(20_000);
    let sent = 0;
    const gone = watcher.wait({ action: 'presence_update', payload: { action: 'leave', presence: { socketId: slow.socketId } } }, { timeout: 40_000 }).then(() => true);
    while (!(await Promise.race([gone, span(0)])) && sent < 3000) {
      await writer.published('room1', [sent++, filler]);
    }
    assert.ok(await gone);
    const got = await watcher.frames.waitMany({ action: 'message' }, { count: sent });
    assert.deepEqual(got.map((f) => f.payload[0]), tick(sent));
    await writer.frames.waitMany({ action: 'message' }, { count: sent });
    slow.socket._socket.resume();
    const closed = await slow.ended;
    assert.match(String(closed.code), /^(1013|1006)$/, 'a code with which the SDK comes back');
    await alive(rt);
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: a slow page comes back by itself`, { timeout: 60_000 }, async () => {
      const { rt } = await fresh({ FANFARE_LIMITS_BACKLOG_BYTES: '65536', FANFARE_LIMITS_WRITE_TIMEOUT: '1s' });
      const user = rt.sdk({ version });
      const channel = await user.open('room1');
      const writer = await rt.raw();
      await writer.joined('room1', { presence: true });
      const { socketId } = (await channel.wait({ action: 'join' })).client;
      user.socket._socket.pause();
      const gone = writer.wait({ action: 'presence_update', payload: { action: 'leave', presence: { socketId } } }, { timeout: 40_000 }).then(() => true);
      for (let n = 0; n < 3000 && !(await Promise.race([gone, span(0)])); n++) await writer.published('room1', 'x'.repeat(20_000));
      await gone;
      const mark = channel.mark;
      user.socket._socket.resume();
      await channel.wait({ action: 'connection_status', payload: { status: 'disconnected' } }, { from: mark });
      await channel.wait({ action: 'connection_status', payload: { status: 'connected' } }, { from: mark });
      await until('it to be heard', () => {
        channel.message('back');
        return writer.frames.filter({ payload: 'back' }).length > 0;
      }, { every: 100 });
    });
  }

  test('a half-open peer, which answers no ping, disappears within the keep-alive timeout; one that answers stays', async () => {
    const { rt } = await fresh({ FANFARE_LIMITS_PING_INTERVAL: '1s', FANFARE_LIMITS_PONG_TIMEOUT: '5s' });
    const watcher = await rt.raw();
    await watcher.joined('room1', { presence: true });
    const half = await rt.raw({ autoPong: false });
    await half.joined('room1');
    const started = performance.now();
    await watcher.wait({ action: 'presence_update', payload: { action: 'leave', presence: { socketId: half.socketId } } }, { timeout: 40_000 });
    const took = performance.now() - started;
    assert.ok(took > 3000 && took < 30_000, `${took} ms`);
    assert.match(String((await half.ended).code), /^(1006|1013|1011)$/);
    assert.ok(watcher.pings >= 2, 'the server pings');
    assert.equal(watcher.closed, undefined);
  });

  test('the server pings by itself within ping_interval', async () => {
    const { rt } = await fresh({ FANFARE_LIMITS_PING_INTERVAL: '300ms' });
    const client = await rt.raw();
    await until('pings', () => client.pings >= 3);
  });

  test('slow handshakes are dropped after handshake_timeout, however many; others get in', async () => {
    const { server, rt } = await fresh({ FANFARE_LIMITS_HANDSHAKE_TIMEOUT: '1s' });
    const request = `GET /rt/${rt.hash} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Filler: `;
    const started = performance.now();
    const sloths = tick(60).map((i) => new Promise((resolve) => {
      const socket = net.connect(server.port, server.host);
      let n = 0;
      const timer = setInterval(() => {
        // A third say nothing, a third a byte at a time, a third half a request.
        if (i % 3 === 1) socket.write(request[n++ % request.length]);
        else if (i % 3 === 2 && n++ === 0) socket.write(request);
      }, 50);
      socket.on('error', () => {});
      socket.resume();
      socket.on('close', () => {
        clearInterval(timer);
        resolve(performance.now() - started);
      });
    }));
    await alive(rt);
    const times = await Promise.race([Promise.all(sloths), span(30_000)]);
    assert.ok(times, 'not all were dropped within 30 s');
    await alive(rt);
  });

  test('sockets_per_address: 429 or 503 with Retry-After', async () => {
    const { rt } = await fresh({ FANFARE_LIMITS_SOCKETS_PER_ADDRESS: '3' });
    const clients = [];
    // The server may still be counting the harness's own sockets.
    while (clients.length < 3) clients.push(await until('room', () => rt.raw().catch(() => undefined), { every: 50 }));
    const err = await rt.raw().then(() => assert.fail('a fourth was let in'), (e) => e);
    assert.match(String(err.response?.status), /^(429|503)$/);
    assert.ok(Number(err.response.headers['retry-after']) >= 1);
    await clients[0].close();
    await until('room for one', () => rt.raw().then(() => true, () => false), { every: 50 });
  });

  test('allowed_origins: others are refused at the upgrade; clients without an Origin are no browsers and get in', async () => {
    const { rt } = await fresh({ FANFARE_ALLOWED_ORIGINS: 'https://app.example,https://*.example.org' });
    const attempt = (origin) => rt.raw({ headers: origin ? { origin } : {} }).then((c) => c.close().then(() => 101), (err) => err.response?.status);
    assert.equal(await attempt('https://app.example'), 101);
    assert.equal(await attempt(undefined), 101);
    for (const origin of ['https://evil.example', 'http://app.example', 'https://app.example.evil.test', 'https://app.example:8443', 'null']) assert.equal(await attempt(origin), 403, origin);
  });

  test('message_bytes can be configured, and says itself', async () => {
    const { rt } = await fresh({ FANFARE_LIMITS_MESSAGE_BYTES: '1000' });
    const client = await rt.raw();
    await client.joined('room1');
    client.message('room1', 'x'.repeat(1100));
    assertError(await client.wait({ action: 'error' }), 'too_large');
    client.message('room1', 'x'.repeat(17_000));
    assert.match(String((await client.ended).code), /^(1009|1006)$/);
  });

  test('a rule\'s own rate_limit: messages per minute and socket', async () => {
    const { rt } = await fresh({}, [open('room1', { rate_limit: 5 })]);
    const client = await rt.raw();
    await client.joined('room1');
    const answers = [];
    for (const i of tick(10)) answers.push(await client.publish('room1', i));
    const acked = answers.filter((a) => a.action === 'ack').length;
    assert.ok(acked >= 5 && acked <= 6, `${acked} of 10 went through`);
    assertError(answers.at(-1), 'rate_limited');
    assert.ok(answers.at(-1).payload.retry_after > 0);
  });
});
