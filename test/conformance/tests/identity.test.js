'use strict';
// xano-realtime.md 11.3 "Connection and auth", 4.2, 12.10, 12.11: who a socket is.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { generateKeyPairSync, createSign } = require('node:crypto');
const { serve, assertError, assertAnonymous } = require('../lib/suite');
const { VERSIONS } = require('../lib/sdk');
const { mint, now, b64 } = require('../lib/token');
const { open, rule } = require('../lib/rules');

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    open('room'),
    rule('members', { presence: true, client_public_messaging: true }),
  ]),
}));

describe('a valid token', () => {
  test('permissions and extras stand in the join answer, in messages and in presence', async () => {
    const extras = { name: 'Jo', roles: ['a', 'b'], nested: { deep: [1, null, 'ü'] } };
    const jo = await s.rt.raw({ user: { dbo_id: 17, row_id: 3, extras } });
    const watcher = await s.rt.raw();
    await watcher.joined('room', { presence: true });
    const { answer } = await jo.joined('room', { presence: true });
    const expected = { socketId: answer.client.socketId, extras, permissions: { dbo_id: 17, row_id: 3 } };
    assert.deepEqual(answer.client, expected);
    const update = await watcher.wait({ action: 'presence_update', payload: { action: 'join', presence: { socketId: jo.socketId } } });
    assert.deepEqual(update.payload.presence, expected);
    jo.message('room', 'hello');
    const message = await watcher.wait({ action: 'message', payload: 'hello' });
    assert.deepEqual(message.client, expected);
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: seen by others with ids and extras`, async () => {
      const a = s.rt.sdk({ version, user: { row_id: 31, extras: { name: 'A' } } });
      const b = s.rt.sdk({ version });
      const inB = await b.open('room', { presence: true });
      const inA = await a.open('room', { presence: true });
      inA.message('hi');
      const got = await inB.wait({ action: 'message', payload: 'hi' });
      assert.deepEqual(got.client.permissions, { dbo_id: 17, row_id: 31 });
      assert.deepEqual(got.client.extras, { name: 'A' });
      const entry = inB.presence().find((c) => c.socketId === got.client.socketId);
      assert.deepEqual([entry.extras, entry.permissions], [{ name: 'A' }, { dbo_id: 17, row_id: 31 }]);
    });
  }

  test('without extras they are {}', async () => {
    const client = await s.rt.raw({ user: { row_id: 6, extras: undefined } });
    const { answer } = await client.joined('room');
    assert.deepEqual(answer.client.extras, {});
    assert.deepEqual(answer.client.permissions, { dbo_id: 17, row_id: 6 });
  });

  test('row_id: an integer stays a number, a numeric string becomes one, a UUID stays a string', async () => {
    const uuid = '9f0c1c2e-0001-4a4a-8d6e-1234567890ab';
    for (const [claim, wire] of [[42, 42], ['43', 43], [uuid, uuid]]) {
      const client = await s.rt.raw({ user: { row_id: claim } });
      const { answer } = await client.joined('room');
      assert.strictEqual(answer.client.permissions.row_id, wire);
    }
  });

  for (const alg of ['HS256', 'HS384', 'HS512']) {
    test(`${alg} is accepted`, async () => {
      const client = await s.rt.raw({ token: mint({ row_id: 7, header: { alg } }) });
      const { answer } = await client.joined('members');
      assert.equal(answer.client.permissions.row_id, 7);
    });
  }
});

describe('no token', () => {
  test('the client is {} and 0/0, with a socket id of its own', async () => {
    const a = await s.rt.raw();
    const b = await s.rt.raw();
    const first = await a.joined('room');
    const second = await b.joined('room');
    assertAnonymous(first.answer.client);
    assertAnonymous(second.answer.client);
    assert.notEqual(first.answer.client.socketId, second.answer.client.socketId);
    a.message('room', 'who am I');
    const got = await b.wait({ action: 'message', payload: 'who am I' });
    assert.deepEqual(got.client, first.answer.client);
  });
});

describe('a token that is not valid', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const rs256 = () => {
    const signed = `${b64({ alg: 'RS256', typ: 'JWT' })}.${b64({ dbo_id: 17, row_id: 9, exp: now() + 600 })}`;
    return `${signed}.${createSign('sha256').update(signed).sign(privateKey, 'base64url')}`;
  };
  const [head, body, signature] = mint({ row_id: 9 }).split('.');
  const bad = {
    garbage: 'garbage',
    'three parts of garbage': 'aaa.bbb.ccc',
    'five parts of garbage': 'eyJhbGciOiJkaXIifQ..aaa.bbb.ccc',
    expired: mint({ row_id: 9, exp: now() - 60 }),
    'not yet valid': mint({ row_id: 9, nbf: now() + 3600 }),
    'another secret': mint({ row_id: 9, secret: 'another secret of more than 32 bytes long' }),
    'alg none': mint({ row_id: 9, header: { alg: 'none' } }),
    'no signature': `${head}.${body}.`,
    'claims changed': `${head}.${b64({ dbo_id: 17, row_id: 1, exp: now() + 600 })}.${signature}`,
    'a key nobody trusts': rs256(),
    'the public key as HMAC secret': mint({ row_id: 9, secret: publicKey.export({ type: 'spki', format: 'pem' }) }),
    'exp that is no number': mint({ row_id: 9, exp: 'tomorrow' }),
  };
  for (const [what, token] of Object.entries(bad)) {
    test(`${what}: echoed, told once, anonymous (12.10)`, async () => {
      const client = await s.rt.raw({ token });
      assert.equal(client.socket.protocol, token);
      const error = await client.wait({ action: 'error' });
      assertError(error, what === 'expired' ? undefined : 'authentication_failed', 'Authentication failed.');
      assert.equal(error.options?.channel, undefined, 'it is about the connection');
      const { answer } = await client.joined('room');
      assertAnonymous(answer.client);
      const refused = await client.join('members');
      assert.equal(refused.error?.message, 'Anonymous clients cannot join this channel.');
      await client.settled();
      assert.equal(client.frames.filter((f) => f.action === 'error' && !f.options?.channel).length, 1);
      assert.equal(client.closed, undefined);
    });
  }

  for (const version of VERSIONS) {
    test(`SDK ${version}: expired token, then setRealtimeAuthToken and realtimeReconnect raise the identity`, async () => {
      const user = s.rt.sdk({ version, token: mint({ row_id: 12, exp: now() - 5 }) });
      const channel = await user.open('room', { presence: true });
      assert.equal((await channel.errors.wait({ action: 'error' })).payload.message, 'Authentication failed.');
      await channel.wait({ action: 'presence_full' });
      assert.deepEqual(channel.presence().at(-1).permissions, { dbo_id: 0, row_id: 0 });
      const mark = channel.mark;
      const started = performance.now();
      user.setToken(mint({ row_id: 12 }));
      user.reconnect();
      const join = await channel.wait({ action: 'join' }, { from: mark });
      assert.deepEqual(join.client.permissions, { dbo_id: 17, row_id: 12 });
      assert.equal(user.attempts[0].closed.code, 4000, 'the close frame echoes 4000');
      assert.equal(user.attempts.length, 2);
      const took = performance.now() - started;
      assert.ok(took > 900 && took < 10_000, `about a second, was ${took}`);
      assert.deepEqual(channel.statuses().slice(-2), ['disconnected', 'connected']);
    });
  }
});

describe('setRealtimeAuthToken and realtimeReconnect', () => {
  test('an anonymous user refused at a members-only channel gets in after signing in', async () => {
    const user = s.rt.sdk();
    const [channel] = user.prepare(['members', { presence: true }]);
    channel.listen();
    await channel.errors.wait({ action: 'error', payload: { message: 'Anonymous clients cannot join this channel.' } });
    user.setToken(mint({ row_id: 13, extras: { name: 'in' } }));
    user.reconnect();
    const join = await channel.wait({ action: 'join' });
    assert.equal(join.client.permissions.row_id, 13);
    const full = await channel.wait({ action: 'presence_full' });
    assert.deepEqual(full.payload.presence.map((c) => c.extras), [{ name: 'in' }]);
  });

  test('signing out (null) comes back anonymous', async () => {
    const user = s.rt.sdk({ user: { row_id: 14 } });
    const channel = await user.open('room');
    const mark = channel.mark;
    user.setToken(null);
    user.reconnect();
    const join = await channel.wait({ action: 'join' }, { from: mark });
    assertAnonymous(join.client);
  });
});

describe('SDK 2.0.1 and 1.0.36', () => {
  for (const version of VERSIONS.filter((v) => v !== '3.0.1')) {
    test(`${version} falls back to authToken`, async (t) => {
      t.mock.method(console, 'warn', () => {});
      const user = s.rt.sdk({ version, config: { authToken: mint({ row_id: 15 }) } });
      const channel = await user.open('members');
      const join = await channel.wait({ action: 'join' });
      assert.equal(join.client.permissions.row_id, 15);
    });
  }

  test('3.0.1 does not: the ordinary token stays off the socket', async () => {
    const user = s.rt.sdk({ config: { authToken: mint({ row_id: 16 }) } });
    const channel = await user.open('room');
    assertAnonymous((await channel.wait({ action: 'join' })).client);
  });
});

describe('a token that runs out on a live socket', () => {
  test('makes it anonymous and says so; channels for members only are left, others stay', async () => {
    const watcher = await s.rt.raw({ user: { row_id: 50 } });
    await watcher.joined('members', { presence: true });
    await watcher.joined('room', { presence: true });
    const client = await s.rt.raw({ user: { row_id: 51, exp: now() + 6 } });
    await client.joined('members');
    const { answer } = await client.joined('room');
    assert.equal(answer.client.permissions.row_id, 51);
    const error = await client.wait({ action: 'error', payload: { code: 'token_expired' } });
    assert.equal(error.options?.channel, undefined);
    await client.wait({ action: 'error', options: { channel: 'members' } }, { what: 'the error that names the channel it lost' });
    await watcher.wait({ action: 'presence_update', options: { channel: 'members' }, payload: { action: 'leave', presence: { socketId: client.socketId } } });
    client.message('room', 'still here');
    const got = await watcher.wait({ action: 'message', payload: 'still here' });
    assert.deepEqual(got.client, { socketId: client.socketId, extras: {}, permissions: { dbo_id: 0, row_id: 0 } });
    client.message('members', 'not any more');
    await client.wait({ action: 'error', options: { channel: 'members' }, payload: { code: 'not_joined' } });
    assert.equal(client.closed, undefined);
    assert.equal(watcher.frames.filter({ payload: 'not any more' }).length, 0);
  });

  test('receives no messages for authenticated clients afterwards', async () => {
    const rt = await s.server.realtime([open('mixed', { client_authenticated_messaging: true })]);
    const sender = await rt.raw({ user: { row_id: 52 } });
    const fading = await rt.raw({ user: { row_id: 53, exp: now() + 6 } });
    await sender.joined('mixed');
    await fading.joined('mixed');
    sender.message('mixed', 'before', { authenticated: true });
    await fading.wait({ action: 'message', payload: 'before' });
    await fading.wait({ action: 'error', payload: { code: 'token_expired' } });
    sender.message('mixed', 'after', { authenticated: true });
    await sender.wait({ action: 'message', payload: 'after' });
    sender.message('mixed', 'fence');
    await fading.wait({ action: 'message', payload: 'fence' });
    assert.equal(fading.frames.filter({ payload: 'after' }).length, 0);
  });
});
