'use strict';
// Real wss on port 443 of a loopback address, with nothing between the SDK and the server: the `ws` package as
// WebSocket in this process, and Node's built-in one in another. Where port 443 may not be bound, the same on
// another port, reached by rewriting the address.

const { test, before, after } = require('node:test');
const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { copyFileSync } = require('node:fs');
const { join } = require('node:path');
const tls = require('node:tls');
const { certificate } = require('../lib/certificate');
const { loopback443 } = require('../lib/loopback');
const { Server, freePort } = require('../lib/server');
const { VERSIONS, SdkUser } = require('../lib/sdk');
const { mint } = require('../lib/token');
const { open } = require('../lib/rules');
const { until, Log } = require('../lib/wait');

let cert;
let server;
let rt;
let host;
let port;

before(async () => {
  host = await loopback443();
  port = host ? 443 : undefined;
  host ??= '127.0.0.1';
  port ??= await freePort();
  cert = certificate({ names: ['localhost'], addresses: [host] });
  server = await Server.start({ tls: { ...cert, host, port } });
  rt = await server.realtime([open('room1', { history: 25 })]);
});
after(async () => {
  await server?.close();
  cert?.remove();
});

/** A user that dials the address as the SDK makes it, trusting the certificate and nothing else. */
function direct(version, token) {
  const user = new SdkUser({
    version, token, hash: rt.hash, ca: cert.pem,
    config: { instanceBaseUrl: `https://${host}:8443/some/path` }, // port and path are thrown away by the SDK
    hostname: host, target: port === 443 ? undefined : { host, port, tls: cert },
  });
  server.clients.add(user);
  return user;
}

for (const version of VERSIONS) {
  test(`SDK ${version} over wss: chat, presence, history, reconnect with a new token`, async () => {
    const a = direct(version, mint({ row_id: 1, extras: { name: 'A' } }));
    const inA = await a.open('room1', { presence: true, history: true });
    assert.equal(a.attempt.url, `wss://${host}/rt/${rt.hash}`);
    assert.equal(a.socket._socket.encrypted, true);
    assert.equal(a.socket._socket.authorized, true);
    const b = direct(version);
    const inB = await b.open('room1', { presence: true });
    inA.message({ over: 'tls', version });
    await inB.wait({ action: 'message', payload: { over: 'tls', version } });
    const mark = inB.mark;
    b.setToken(mint({ row_id: 2 }));
    b.reconnect();
    const join = await inB.wait({ action: 'join' }, { from: mark });
    assert.equal(join.client.permissions.row_id, 2);
    await b.close();
    await a.close();
  });
}

test('two users in processes of their own, with Node\'s built-in WebSocket and NODE_EXTRA_CA_CERTS', async () => {
  const start = (name, token) => {
    const child = spawn(process.execPath, ['--experimental-websocket', '--no-warnings', join(__dirname, '../lib/builtin-user.js')], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { PATH: process.env.PATH, NODE_EXTRA_CA_CERTS: cert.cert, BASE: `https://${host}`, HASH: rt.hash, TOKEN: token ?? '', REWRITE_PORT: port === 443 ? '' : String(port) },
    });
    const out = new Log(name);
    let rest = '';
    child.stdout.on('data', (d) => {
      const lines = (rest + d).split('\n');
      rest = lines.pop();
      for (const line of lines) out.push(JSON.parse(line));
    });
    return { out, say: (command) => child.stdin.write(`${JSON.stringify(command)}\n`), end: () => new Promise((resolve) => { child.once('exit', resolve); child.stdin.end(); }) };
  };
  const a = start('a', mint({ row_id: 11, extras: { name: 'built-in' } }));
  const b = start('b');
  await a.out.wait({ action: 'presence_full' });
  await b.out.wait({ action: 'presence_full' });
  a.say({ message: { from: 'built-in' } });
  const got = await b.out.wait({ action: 'message', payload: { from: 'built-in' } });
  assert.deepEqual(got.client.extras, { name: 'built-in' });
  b.say({ history: true });
  await b.out.wait((f) => f.action === 'history' && f.payload.history.some((h) => h.payload?.from === 'built-in'));
  const mark = a.out.length;
  a.say({ reconnect: true });
  await a.out.wait({ action: 'connection_status', payload: { status: 'disconnected' } }, { from: mark });
  await a.out.wait({ action: 'presence_full' }, { from: mark });
  assert.equal(await a.end(), 0);
  await b.out.wait({ action: 'presence_update', payload: { action: 'leave' } });
  assert.equal(await b.end(), 0);
});

test('a new certificate in the same files is served without a restart, open sockets stay', async () => {
  const client = await rt.raw({ ca: cert.pem });
  await client.joined('room1');
  const serial = () => new Promise((resolve, reject) => {
    const socket = tls.connect({ host, port, rejectUnauthorized: false, servername: 'localhost' }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.once('error', reject);
  });
  const old = await serial();
  const next = certificate({ names: ['localhost'], addresses: [host] });
  copyFileSync(next.key, cert.key);
  copyFileSync(next.cert, cert.cert);
  await until('the new certificate', async () => (await serial()) !== old, { timeout: 20_000, every: 200 });
  client.message('room1', 'still here');
  await client.wait({ payload: 'still here' });
  next.remove();
});
