'use strict';
// xano-realtime.md 11.3 "Connection and auth": addresses, subprotocols, origins.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const net = require('node:net');
const { serve, assertError } = require('../lib/suite');
const { RawClient } = require('../lib/raw');
const { request, newHash } = require('../lib/server');
const { VERSIONS } = require('../lib/sdk');
const { mint } = require('../lib/token');
const { open } = require('../lib/rules');
const { until } = require('../lib/wait');

const s = serve({}, async (server) => ({
  rt: await server.realtime([open('room1')]),
  other: await server.realtime([open('room1')]),
}));

/** The answer to a handshake, byte for byte, with any headers. */
function handshake(server, path, headers = {}) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(server.port, server.host);
    let text = '';
    socket.on('data', (d) => {
      text += d.toString('latin1');
      if (text.includes('\r\n\r\n')) {
        socket.destroy();
        const [head] = text.split('\r\n\r\n');
        const [status, ...lines] = head.split('\r\n');
        const all = lines.map((line) => line.split(/:\s*/)).map(([k, ...v]) => [k.toLowerCase(), v.join(': ')]);
        resolve({ status: Number(status.split(' ')[1]), headers: new Map(all) });
      }
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed after ${JSON.stringify(text)}`)));
    const fields = {
      Host: 'xano.test', Upgrade: 'websocket', Connection: 'Upgrade',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version': '13', ...headers,
    };
    socket.write(`GET ${path} HTTP/1.1\r\n${Object.entries(fields).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`);
  });
}

describe('the address', () => {
  test('/rt/{hash} accepts', async () => {
    const answer = await handshake(s.server, `/rt/${s.rt.hash}`);
    assert.equal(answer.status, 101);
    assert.equal(answer.headers.get('sec-websocket-accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  });

  for (const version of VERSIONS) {
    test(`SDK ${version} dials /rt/ and the hash of its configuration`, async () => {
      const user = s.rt.sdk({ version });
      await user.open('room1');
      assert.equal(user.attempts.length, 1);
      assert.equal(user.attempt.url, `wss://${user.host}/rt/${s.rt.hash}`);
    });
  }

  test('SDK 3.0.1: realtimeConnectionCanonical wins over realtimeConnectionHash', async () => {
    const user = s.rt.sdk({ config: { realtimeConnectionHash: 'not-this-one' } });
    await user.open('room1');
    assert.ok(user.attempt.url.endsWith(`/rt/${s.rt.hash}`));
  });

  test('SDK 3.0.1: realtimeConnectionHash alone works', async () => {
    const user = s.rt.sdk({ config: { realtimeConnectionCanonical: null, realtimeConnectionHash: s.rt.hash } });
    await user.open('room1');
  });

  test('two realtime servers do not hear each other', async () => {
    const [a, b] = await Promise.all([s.rt.raw(), s.other.raw()]);
    await a.joined('room1');
    await b.joined('room1');
    a.message('room1', 'to the first');
    await a.wait({ action: 'message', payload: 'to the first' });
    b.message('room1', 'to the second');
    await b.wait({ action: 'message', payload: 'to the second' });
    assert.equal(b.frames.filter({ payload: 'to the first' }).length, 0);
    assert.equal(a.frames.filter({ payload: 'to the second' }).length, 0);
  });

  test('an unknown hash is told so and closed with 4401 (12.9)', async () => {
    const client = new RawClient(`${s.server.url.replace('http', 'ws')}/rt/${newHash()}`, {});
    await client.opened;
    const closed = await client.ended;
    assert.equal(closed.code, 4401);
    assert.equal(client.frames.length, 1);
    assertError(client.frames.items[0], 'unknown_hash');
    assert.match(client.frames.items[0].payload.message, /^Unknown connection hash\.?$/);
    assert.equal(client.frames.items[0].options?.channel, undefined, 'it is about the connection, not a channel');
  });

  for (const version of VERSIONS) {
    test(`SDK ${version} with an unknown hash hears the error, is disconnected and stays away`, async () => {
      const user = s.rt.sdk({ version, hash: newHash() });
      const [channel] = user.prepare('room1');
      channel.listen();
      await channel.errors.wait({ action: 'error', payload: { code: 'unknown_hash' } });
      await channel.wait({ action: 'connection_status', payload: { status: 'disconnected' } });
      assert.equal(user.attempt.closed.code, 4401);
      assert.deepEqual(channel.statuses(), ['connected', 'disconnected']);
    });
  }

  test('a disabled realtime server refuses like an unknown hash', async () => {
    const off = await s.server.realtime([open('room1')]);
    await off.put({ enabled: false, channels: off.channels });
    const client = await until('the address to be off', async () => {
      const probe = await off.raw();
      const closed = await Promise.race([probe.ended, probe.settled().then(() => undefined, () => undefined)]);
      if (closed) return probe;
      await probe.close();
    });
    assert.equal(client.closed.code, 4401);
    assertError(client.frames.items[0], 'unknown_hash');
  });

  test('a plain GET of the address is answered with a 4xx and JSON, not a hang', async () => {
    const answer = await request(`${s.server.url}/rt/${s.rt.hash}`);
    assert.ok(answer.status >= 400 && answer.status < 500, String(answer.status));
    assert.equal(typeof answer.json?.code, 'string', answer.text);
    assert.equal(typeof answer.json?.message, 'string', answer.text);
  });

  test('an unknown path is 404 with JSON', async () => {
    for (const path of ['/nothing/here', '/rt', '/rt/', '/api/v1']) {
      const answer = await request(`${s.server.url}${path}`);
      assert.equal(answer.status, 404, `${path}: ${answer.status}`);
      assert.equal(typeof answer.json?.code, 'string', `${path}: ${answer.text}`);
    }
  });

  test('other WebSocket versions and bad keys are refused without harm', async () => {
    const old = await handshake(s.server, `/rt/${s.rt.hash}`, { 'Sec-WebSocket-Version': '12' });
    assert.ok(old.status >= 400 && old.status < 500, String(old.status));
    const post = await request(`${s.server.url}/rt/${s.rt.hash}`, { method: 'POST', body: {} });
    assert.ok(post.status >= 400 && post.status < 500, String(post.status));
  });
});

describe('the subprotocol', () => {
  test('a token offered is echoed byte for byte', async () => {
    const token = mint({ row_id: 3, extras: { name: 'Jo' } });
    const answer = await handshake(s.server, `/rt/${s.rt.hash}`, { 'Sec-WebSocket-Protocol': token });
    assert.equal(answer.status, 101);
    assert.equal(answer.headers.get('sec-websocket-protocol'), token);
  });

  test('a token that is none is echoed as well', async () => {
    const answer = await handshake(s.server, `/rt/${s.rt.hash}`, { 'Sec-WebSocket-Protocol': 'garbage.token-x_y' });
    assert.equal(answer.status, 101);
    assert.equal(answer.headers.get('sec-websocket-protocol'), 'garbage.token-x_y');
  });

  test('none offered, none answered', async () => {
    const answer = await handshake(s.server, `/rt/${s.rt.hash}`);
    assert.equal(answer.headers.has('sec-websocket-protocol'), false);
  });

  test('an 8 KiB token works', async () => {
    const token = mint({ row_id: 4, extras: { filler: 'x'.repeat(2000) }, unknown_claim: 'y'.repeat(3880) });
    assert.ok(token.length > 8000 && token.length <= 8192, `the test wants about 8 KiB, has ${token.length}`);
    const answer = await handshake(s.server, `/rt/${s.rt.hash}`, { 'Sec-WebSocket-Protocol': token });
    assert.equal(answer.headers.get('sec-websocket-protocol'), token);
    const client = await s.rt.raw({ token });
    const { answer: join } = await client.joined('room1');
    assert.equal(join.client.permissions.row_id, 4);
    assert.equal(join.client.extras.filler.length, 2000);
  });

  for (const version of VERSIONS) {
    test(`SDK ${version} connects with and without a token`, async () => {
      const known = s.rt.sdk({ version, user: { row_id: 5 } });
      await known.open('room1');
      assert.equal(known.attempt.protocols.length, 1);
      assert.equal(known.attempt.upgrade['sec-websocket-protocol'], known.attempt.protocols[0]);
      const anonymous = s.rt.sdk({ version });
      await anonymous.open('room1');
      assert.deepEqual(anonymous.attempt.protocols, []);
      assert.equal(anonymous.attempt.upgrade['sec-websocket-protocol'], undefined);
    });
  }
});

describe('other sites', () => {
  test('Origin of another site is accepted by default', async () => {
    for (const origin of ['https://app.example', 'null', 'http://localhost:3000']) {
      const answer = await handshake(s.server, `/rt/${s.rt.hash}`, { Origin: origin });
      assert.equal(answer.status, 101, origin);
    }
  });

  test('cookies and a data-source header change nothing', async () => {
    const answer = await handshake(s.server, `/rt/${s.rt.hash}`, { Cookie: 'a=b', 'X-Data-Source': 'live' });
    assert.equal(answer.status, 101);
  });

  test('a client that offers permessage-deflate is served, compressed or not', async () => {
    const client = await s.rt.raw({ compression: true });
    await client.joined('room1');
    client.message('room1', 'y'.repeat(20_000));
    await client.wait({ action: 'message', payload: 'y'.repeat(20_000) });
  });
});
