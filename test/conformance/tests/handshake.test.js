'use strict';
// The upgrade request byte by byte: what real clients and proxies send, and what hostile ones do. After each test the
// server must serve, and in the end it must have given back the descriptors and goroutines it used.

const { test, afterEach } = require('node:test');
const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const net = require('node:net');
const { readdirSync, readFileSync } = require('node:fs');
const { deflateRawSync } = require('node:zlib');
const { serve, tick } = require('../lib/suite');
const { request } = require('../lib/server');
const { mint } = require('../lib/token');
const { open } = require('../lib/rules');
const { until } = require('../lib/wait');

const s = serve({ env: { FANFARE_LIMITS_HANDSHAKE_TIMEOUT: '4s' } }, async (server) => ({
  rt: await server.realtime([open('room1', { history: 25 })]),
}));

afterEach(async () => {
  const client = await s.rt.raw();
  await client.joined('room1');
  client.message('room1', 'alive');
  await client.wait({ payload: 'alive' });
  await client.close();
});

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const plain = (lines = [], { path = `/rt/${s.rt.hash}`, version = 'HTTP/1.1', method = 'GET' } = {}) =>
  [`${method} ${path} ${version}`, 'Host: xano.test', 'Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Key: ${KEY}`, 'Sec-WebSocket-Version: 13', ...lines, '', ''].join('\r\n');

/** A masked text frame of at most 125 bytes. */
function frame(object, first = 0x81) {
  const data = Buffer.isBuffer(object) ? object : Buffer.from(JSON.stringify(object));
  const mask = randomBytes(4);
  const length = data.length < 126 ? Buffer.from([first, 0x80 | data.length]) : Buffer.from([first, 0xfe, data.length >> 8, data.length & 255]);
  return Buffer.concat([length, mask, data.map((b, i) => b ^ mask[i % 4])]);
}

/** Opens a connection and writes; resolves what came, when `done(text)` holds or the server closes. */
function exchange(writes, { done = (text) => text.includes('\r\n\r\n'), timeout = 30_000 } = {}) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port: s.server.port, host: s.server.host, noDelay: true });
    let text = '';
    const end = (how) => {
      clearTimeout(timer);
      socket.destroy();
      const [head] = text.split('\r\n\r\n');
      const lines = head.split('\r\n');
      resolve({ how, text, status: Number(lines[0].split(' ')[1]), headers: Object.fromEntries(lines.slice(1).map((l) => [l.split(':')[0].toLowerCase(), l.slice(l.indexOf(':') + 1).trim()])) });
    };
    const timer = setTimeout(() => { socket.destroy(); reject(new Error(`no answer within ${timeout} ms; so far: ${text}`)); }, timeout);
    socket.on('data', (d) => { text += d.toString('latin1'); if (done(text)) end('answered'); });
    socket.on('error', () => end('error'));
    socket.on('close', () => end('closed'));
    (async () => {
      for (const part of [].concat(writes)) {
        if (socket.destroyed) return;
        await new Promise((ok) => socket.write(part, () => ok()));
        if (Array.isArray(writes)) await new Promise((ok) => setImmediate(ok));
      }
    })();
  });
}

const refused = (answer) => assert.ok((answer.status >= 400 && answer.status < 600) || answer.text === '', `refused or dropped: ${answer.text.slice(0, 300)}`);

test('a request in one byte at a time', async () => {
  const answer = await exchange([...plain([`Sec-WebSocket-Protocol: ${mint({ row_id: 1 })}`])]);
  assert.equal(answer.status, 101);
  assert.equal(answer.headers['sec-websocket-accept'], ACCEPT);
});

test('cut in two at every place', async () => {
  const text = plain(['Origin: https://app.example']);
  const answers = await Promise.all(tick(text.length - 1).map((i) => exchange([text.slice(0, i + 1), text.slice(i + 1)])));
  for (const [i, answer] of answers.entries()) assert.equal(answer.status, 101, `cut after ${i + 1}: ${answer.text}`);
});

test('frames in the same segment as the request are not lost', async () => {
  const join = frame({ action: 'join', options: { channel: 'room1' }, payload: { history: false, presence: false } });
  const message = frame({ action: 'message', options: { channel: 'room1' }, payload: 'early' });
  const bytes = Buffer.concat([Buffer.from(plain()), join, message]);
  const whole = await exchange(bytes, { done: (t) => t.includes('"payload":"early"') });
  assert.equal(whole.status, 101);
  for (const cut of [10, 20, 60, 100]) {
    const at = plain().length + cut;
    const answer = await exchange([bytes.subarray(0, at), bytes.subarray(at)], { done: (t) => t.includes('"payload":"early"') });
    assert.equal(answer.status, 101);
  }
});

test('header names and values as browsers and proxies write them', async () => {
  const forms = [
    ['GET', 'host: x', 'upgrade: WebSocket', 'connection: keep-alive, Upgrade', `sec-websocket-key: ${KEY}`, 'sec-websocket-version: 13'],
    ['GET', 'HOST:x', 'UPGRADE:websocket', 'CONNECTION:upgrade', `SEC-WEBSOCKET-KEY:${KEY}`, 'SEC-WEBSOCKET-VERSION:13'],
    ['GET', 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket', `Sec-WebSocket-Key:   ${KEY}  `, 'Sec-WebSocket-Version: 13', 'X-Forwarded-For: 1.2.3.4, 5.6.7.8', 'Via: 1.1 proxy'],
    ['GET', 'Host: x', 'Connection: keep-alive', 'Connection: Upgrade', 'Upgrade: websocket', `Sec-WebSocket-Key: ${KEY}`, 'Sec-WebSocket-Version: 13'],
    ['GET', 'Host: x', 'Connection: Upgrade', 'Upgrade: h2c, websocket', `Sec-WebSocket-Key: ${KEY}`, 'Sec-WebSocket-Version: 13'],
  ];
  for (const [method, ...lines] of forms) {
    const answer = await exchange(`${method} /rt/${s.rt.hash} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    assert.equal(answer.status, 101, `${lines}: ${answer.text}`);
    assert.equal(answer.headers['sec-websocket-accept'], ACCEPT);
  }
  const query = await exchange(plain([], { path: `/rt/${s.rt.hash}?transport=websocket` }));
  assert.equal(query.status, 101, 'a query string is ignored');
});

test('a long but sane header is taken, an endless one is refused or dropped', async () => {
  const long = await exchange(plain([`Cookie: ${'c'.repeat(6000)}`, `Sec-WebSocket-Protocol: ${'t'.repeat(8192)}`]));
  assert.equal(long.status, 101);
  assert.equal(long.headers['sec-websocket-protocol'].length, 8192);
  refused(await exchange(plain([`Cookie: ${'c'.repeat(2_000_000)}`])));
  refused(await exchange(plain(tick(20_000).map((i) => `X-${i}: y`))));
  refused(await exchange(`GET /rt/${'x'.repeat(2_000_000)} HTTP/1.1\r\n\r\n`));
});

test('several subprotocols: the one that is chosen was offered', async () => {
  for (const lines of [['Sec-WebSocket-Protocol: one, two'], ['Sec-WebSocket-Protocol: one', 'Sec-WebSocket-Protocol: two']]) {
    const answer = await exchange(plain(lines));
    if (answer.status === 101) assert.ok(['one', 'two'].includes(answer.headers['sec-websocket-protocol']), answer.text);
    else refused(answer);
  }
});

test('a token cannot smuggle header lines into the answer', async () => {
  for (const value of ['a\rX-Evil: 1', 'a\nX-Evil: 1', 'a\x00b', 'ä', 'a b', '"quoted"', ',', '']) {
    const answer = await exchange(Buffer.from(plain([`Sec-WebSocket-Protocol: ${value}`]), 'latin1'));
    assert.equal(answer.headers['x-evil'], undefined, answer.text);
    assert.ok(answer.status === 101 || (answer.status >= 400 && answer.status < 500) || answer.text === '', answer.text);
  }
});

test('requests that are no upgrade are refused', async () => {
  for (const text of [
    plain([], { version: 'HTTP/1.0' }), plain([], { method: 'POST' }), plain([], { path: '/rt' }), plain([], { path: '/rt/a/b' }),
    plain().replace('Upgrade: websocket\r\n', ''), plain().replace(`Sec-WebSocket-Key: ${KEY}\r\n`, ''), plain().replace('Version: 13', 'Version: 99'),
    'GET\r\n\r\n', '\r\n\r\n\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'GET / HTTP/1.1\r\n\r\n',
    'GET /rt/x HTTP/1.1\r\nHost : x\r\n\r\n', 'GET /rt/x HTTP/1.1\r\n continued\r\n\r\n', 'GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n', `GET /rt/%zz HTTP/1.1\r\nHost: x\r\n\r\n`,
  ]) {
    const answer = await exchange(text);
    assert.notEqual(answer.status, 101, text.slice(0, 200));
    assert.ok(answer.status !== 500, `${text.slice(0, 200)}: ${answer.text}`);
  }
});

test('an upgrade with a body is refused, or the body is taken for frames: never for another request', async () => {
  const inner = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';
  for (const lines of [[`Content-Length: ${inner.length}`], ['Transfer-Encoding: chunked'], ['Transfer-Encoding: chunked', 'Content-Length: 5']]) {
    const answer = await exchange(plain(lines) + inner, { done: (t) => t.includes('\x88') || t.split('HTTP/1.1').length > 2 });
    assert.equal(answer.text.split('HTTP/1.1').length, 2, answer.text);
  }
});

test('a key that is none is refused or answered by the rules', async () => {
  for (const key of ['', 'x', 'ü', 'a'.repeat(5000)]) {
    const answer = await exchange(plain().replace(KEY, key));
    assert.ok(answer.status === 101 || (answer.status >= 400 && answer.status < 500) || answer.text === '', answer.text);
  }
});

test('noise: random bytes, a TLS hello, other protocols', async () => {
  const noises = [
    ...tick(100).map((i) => randomBytes(1 + ((i * 37) % 700))),
    Buffer.from('160301020001000001fc0303', 'hex'), Buffer.from('SSH-2.0-OpenSSH_9.6\r\n'), Buffer.from('EHLO x\r\n'), Buffer.from([0]), Buffer.from('*1\r\n$4\r\nPING\r\n'), Buffer.alloc(100_000),
  ];
  await Promise.all(noises.map((bytes) => exchange(bytes, { done: () => false, timeout: 40_000 }).catch((err) => assert.fail(`kept open: ${err.message}`))));
});

test('a bomb in permessage-deflate does not blow up', async () => {
  const answer = await exchange(plain(['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits']));
  assert.equal(answer.status, 101);
  const compressed = answer.headers['sec-websocket-extensions']?.includes('permessage-deflate');
  // Where compression is declined a compressed frame is a violation; where it is not, 40 KiB become 40 MiB.
  const zeros = deflateRawSync(Buffer.alloc(40 << 20, 0x61), { finishFlush: 2 }).subarray(0, -4);
  assert.ok(zeros.length < 60_000);
  const before = rss();
  await Promise.all(tick(20).map(() => exchange([Buffer.from(plain(['Sec-WebSocket-Extensions: permessage-deflate'])), frame(zeros, 0xc1)], { done: (t) => t.includes('\x88'), timeout: 40_000 })));
  if (before) assert.ok(rss() - before < 300 << 20, `grew by ${(rss() - before) >> 20} MiB (compression ${compressed ? 'on' : 'off'})`);
});

/** Resident bytes of the server, where /proc tells. */
function rss() {
  if (!s.server.child) return 0;
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${s.server.child.pid}/status`, 'utf8'));
  return Number(line[1]) * 1024;
}

test('descriptors and goroutines come back after a thousand sockets that went in every way', async () => {
  if (!s.server.child) return; // a server that somebody else runs: its process cannot be looked at
  const descriptors = () => readdirSync(`/proc/${s.server.child.pid}/fd`).length;
  const goroutines = async () => Number(/^go_goroutines (\d+)/m.exec((await request(`${s.server.ops}/metrics`)).text)[1]);
  const crowd = async () => {
    const clients = await Promise.all(tick(200).map(() => s.rt.raw()));
    for (const [i, client] of clients.entries()) {
      client.send({ action: 'join', options: { channel: 'room1' }, payload: { history: true, presence: true } });
      if (i % 4 === 0) client.terminate();
      else if (i % 4 === 1) client.socket.close(1000);
      else if (i % 4 === 2) client.socket._socket.write(Buffer.from([0xff, 0xff]), () => client.terminate());
      else client.settled().then(() => client.terminate(), () => client.terminate());
    }
    await Promise.all(clients.map((c) => c.ended));
  };
  await crowd(); // pools that stay are filled now
  const alive = await s.rt.raw();
  await alive.settled();
  await alive.close();
  const before = { fd: descriptors(), go: await goroutines() };
  for (const _ of tick(5)) await crowd();
  await until('them to come back', async () => descriptors() <= before.fd + 5 && (await goroutines()) <= before.go + 100, { timeout: 40_000, every: 200 })
    .catch(async (err) => assert.fail(`${err.message}: before ${JSON.stringify(before)}, now ${JSON.stringify({ fd: descriptors(), go: await goroutines() })}`));
});
