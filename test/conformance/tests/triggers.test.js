'use strict';
// xano-realtime.md 11.3 "Triggers and events" and section 7, 12.17, 12.18, with a real HTTP server behind the rules.

const { test, describe, before, after } = require('node:test');
const assert = require('node:assert/strict');
const { createHmac } = require('node:crypto');
const { serve, assertError, tick } = require('../lib/suite');
const { Webhooks } = require('../lib/webhooks');
const { VERSIONS } = require('../lib/sdk');
const { open, nested } = require('../lib/rules');
const { newHash } = require('../lib/server');
const { until } = require('../lib/wait');

let hooks;
before(async () => { hooks = await Webhooks.start(); });
after(() => hooks.close());

const s = serve({});
const { answer } = Webhooks;

let serial = 0;
/** A realtime server with one rule whose trigger is answered by handler; gives {rt, path, calls()}. */
async function triggered(actions, handler, { flags = {}, make = open, name = 'room', trigger = {} } = {}) {
  const path = `/hook${++serial}`;
  const url = hooks.on(path, handler);
  const rt = await s.server.realtime([make(name, { ...flags, triggers: [{ url, actions, ...trigger }] })]);
  return { rt, path, calls: (action) => hooks.calls.filter((c) => c.path === path && (!action || c.body.action === action)) };
}

describe('the join trigger', () => {
  test('false refuses: Join was rejected.', async () => {
    const { rt, calls } = await triggered({ join: true }, () => false);
    const client = await rt.raw();
    client.send({ action: 'join', options: { channel: 'room' }, payload: { history: true, presence: true } });
    const error = await client.wait({ action: 'error' });
    assertError(error, 'join_rejected', 'Join was rejected.', 'room');
    await client.settled();
    assert.equal(client.frames.filter((f) => f.action !== 'error').length, 0);
    client.message('room', 'x');
    await client.wait({ action: 'error', payload: { code: 'not_joined' } });
    assert.equal(calls().length, 1);
  });

  for (const [what, result] of Object.entries({
    null: null, '{}': {}, '""': '', '0': 0, '"false"': 'false', true: true, '[]': [], '{"allowed":false}': { allowed: false },
  })) {
    test(`${what} admits`, async () => {
      const { rt } = await triggered({ join: true }, () => answer({ raw: JSON.stringify(result) }));
      await (await rt.raw()).joined('room');
    });
  }

  test('an empty body admits, 204 too', async () => {
    let next = answer({ raw: '' });
    const { rt } = await triggered({ join: true }, () => next);
    await (await rt.raw()).joined('room');
    next = answer({ raw: '', status: 204 });
    await (await rt.raw()).joined('room');
  });

  test('its input: action, the concrete channel, client, options and payload', async () => {
    const { rt, calls } = await triggered({ join: true }, () => true, { make: nested, name: 'chat' });
    const client = await rt.raw({ user: { dbo_id: 17, row_id: 42, extras: { name: 'Jo' } } });
    await client.joined('chat/sports/1', { presence: true });
    const [{ body, headers }] = calls();
    assert.equal(body.action, 'join');
    assert.equal(body.channel, 'chat/sports/1');
    assert.deepEqual(body.client.extras, { name: 'Jo' });
    assert.strictEqual(body.client.permissions.dbo_id, 17);
    assert.strictEqual(body.client.permissions.row_id, '42', 'text to triggers (12.11)');
    assert.deepEqual(body.payload, { history: false, presence: true });
    assert.equal(body.options.channel, 'chat/sports/1');
    assert.match(headers['content-type'], /^application\/json/);
  });

  test('fires once per join attempt, refused ones included, not for duplicate joins', async () => {
    let allow = true;
    const { rt, calls } = await triggered({ join: true }, () => allow);
    const client = await rt.raw();
    await client.joined('room');
    await client.joined('room');
    await client.joined('room');
    assert.equal(calls().length, 1);
    client.leave('room');
    await client.joined('room');
    assert.equal(calls().length, 2, 'a new membership is a new attempt');
    allow = false;
    const other = await rt.raw();
    assert.equal((await other.join('room')).error.code, 'join_rejected');
    assert.equal((await other.join('room')).error.code, 'join_rejected');
    assert.equal(calls().length, 4);
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: the double join of a channel made on an open socket runs it once`, async () => {
      const { rt, calls } = await triggered({ join: true }, () => answer({ delay: 100, value: true }), { make: nested, name: 'chat' });
      const user = rt.sdk({ version });
      const [first] = user.prepare('chat/one');
      first.listen();
      await first.wait({ action: 'connection_status', payload: { status: 'connected' } });
      // The frame remembered last is "connected", so this one joins twice.
      const second = await user.open('chat/two');
      second.message('x');
      await second.wait({ action: 'message' });
      assert.equal(user.attempt.sent.filter((t) => /"join".*chat\/two/.test(t)).length, 2);
      assert.equal(calls().filter((c) => c.body.channel === 'chat/two').length, 1);
    });
  }

  test('runs whether or not the permissions admit, and cannot admit whom they refuse (12.18)', async () => {
    const { rt, calls } = await triggered({ join: true }, () => true, { flags: { anonymous_clients: false } });
    const guest = await rt.raw();
    assert.equal((await guest.join('room')).error.message, 'Anonymous clients cannot join this channel.');
    assert.equal(calls().length, 1);
  });

  for (const [what, reply] of Object.entries({
    'status 500': { status: 500 }, 'bad JSON': { raw: '{"a":' }, 'a dropped connection': { drop: true }, 'a timeout': { delay: 2000, value: true },
  })) {
    test(`${what} refuses; with on_failure allow it admits`, async () => {
      const closed = await triggered({ join: true }, () => answer(reply), { trigger: { timeout_ms: 300 } });
      const { error } = await (await closed.rt.raw()).join('room');
      assert.match(error.code, /^(join_rejected|trigger_failed)$/);
      assert.equal(error.message, 'Join was rejected.');
      const opened = await triggered({ join: true }, () => answer(reply), { trigger: { timeout_ms: 300, on_failure: 'allow' } });
      await (await opened.rt.raw()).joined('room');
    });
  }

  test('slow: messages of the same burst wait for it, in order; other sockets do not', async () => {
    let go;
    const held = new Promise((resolve) => { go = resolve; });
    const { rt } = await triggered({ join: true }, (b) => (b.client.permissions.row_id === '1' ? held.then(() => true) : true), { trigger: { timeout_ms: 20_000 } });
    const slow = await rt.raw({ user: { row_id: 1 } });
    const quick = await rt.raw({ user: { row_id: 2 } });
    await quick.joined('room');
    slow.send({ action: 'join', options: { channel: 'room' }, payload: { history: false, presence: true } });
    for (const i of tick(20)) slow.message('room', i);
    slow.send({ action: 'history', options: { channel: 'room' }, payload: null });
    quick.message('room', 'meanwhile');
    await quick.wait({ payload: 'meanwhile' });
    assert.equal(slow.frames.length, 0, 'the slow one is still waiting');
    go();
    await slow.frames.waitMany({ action: 'message' }, { count: 20 });
    assert.deepEqual(slow.frames.filter({ action: 'message' }).map((f) => f.payload), tick(20));
    assert.equal(slow.frames.filter({ action: 'error' }).length, 0);
    assert.deepEqual(slow.frames.items.slice(0, 2).map((f) => f.action), ['join', 'presence_full']);
    const heard = await quick.frames.waitMany((f) => f.action === 'message' && f.payload !== 'meanwhile', { count: 20 });
    assert.deepEqual(heard.map((f) => f.payload), tick(20));
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: the offline queue survives a join trigger of 500 ms`, async () => {
      const { rt } = await triggered({ join: true }, () => answer({ delay: 500, value: true }));
      const user = rt.sdk({ version });
      const [channel] = user.prepare(['room', { queueOfflineActions: true, presence: true }]);
      channel.listen();
      for (const i of tick(5)) channel.message(i);
      const got = await channel.frames.waitMany({ action: 'message' }, { count: 5 });
      assert.deepEqual(got.map((f) => f.payload), tick(5));
      assert.equal(channel.errors.length, 0);
    });
  }

  test('a socket that closes while its join trigger runs does not stay a member', async () => {
    const { rt, calls } = await triggered({ join: true }, (b) => answer({ delay: b.client.permissions.row_id === '1' ? 400 : 0, value: true }));
    const watcher = await rt.raw({ user: { row_id: 2 } });
    await watcher.joined('room', { presence: true });
    const leaver = await rt.raw({ user: { row_id: 1 } });
    leaver.send({ action: 'join', options: { channel: 'room' }, payload: { history: false, presence: true } });
    await hooks.calls.wait((c) => c.body.client?.permissions?.row_id === '1' && calls().includes(c));
    leaver.terminate();
    const third = await rt.raw({ user: { row_id: 1 } });
    await third.joined('room', { presence: true });
    const expected = [watcher.socketId, third.socketId].sort().join();
    await until('only the two to be there', async () => {
      const { presence } = await watcher.joined('room', { presence: true });
      return presence.map((c) => c.socketId).sort().join() === expected;
    }, { every: 50 });
  });
});

describe('while a join trigger runs (500 ms)', () => {
  const slow = (value = true) => triggered({ join: true }, (b) => answer({ delay: b.client.permissions.row_id === '1' ? 500 : 0, value }), { flags: { anonymous_clients: false } });
  const asked = (calls) => until('the trigger to be asked', () => calls().some((c) => c.body.client.permissions.row_id === '1'));
  const join = { action: 'join', options: { channel: 'room' }, payload: { history: true, presence: true } };

  test('a leave behind it ends outside', async () => {
    const { rt } = await slow();
    const watcher = await rt.raw({ user: { row_id: 2 } });
    await watcher.joined('room', { presence: true });
    const client = await rt.raw({ user: { row_id: 1 } });
    client.send(join).leave('room').message('room', 'x');
    await client.wait({ action: 'error', payload: { code: 'not_joined' } });
    const { presence } = await watcher.joined('room', { presence: true });
    assert.equal(presence.length, 1);
  });

  test('the rule is deleted: no membership comes of it', async () => {
    const { rt, calls } = await slow();
    const client = await rt.raw({ user: { row_id: 1 } });
    client.send(join);
    await asked(calls);
    await rt.put({ channels: [open('other')] });
    await client.wait({ action: 'error', options: { channel: 'room' } });
    const mark = client.mark;
    client.message('room', 'x');
    await client.wait({ action: 'error', options: { channel: 'room' } }, { from: mark });
  });

  test('the token runs out: a channel for members only admits nobody anonymous', async () => {
    const exp = Math.floor(Date.now() / 1000) + 4;
    const { rt, calls } = await triggered(
      { join: true }, (b) => answer({ delay: b.client.permissions.row_id === '1' ? exp * 1000 + 250 - Date.now() : 0, value: true }),
      { flags: { anonymous_clients: false }, trigger: { timeout_ms: 20_000 } },
    );
    const client = await rt.raw({ user: { row_id: 1, exp } });
    client.send(join); // is answered when the token has run out
    await asked(calls);
    await client.wait({ action: 'error', payload: { code: 'token_expired' } });
    const error = await client.wait({ action: 'error', options: { channel: 'room' } });
    assert.ok(['anonymous_not_allowed', 'removed'].includes(error.payload.code), error.payload.code);
    client.message('room', 'x');
    await client.wait({ action: 'error', options: { channel: 'room' }, payload: { code: 'not_joined' } });
  });

  test('the hash changes: the socket is closed with 4401', async () => {
    const { rt, calls } = await slow();
    const client = await rt.raw({ user: { row_id: 1 } });
    client.send(join);
    await asked(calls);
    await rt.put({ hash: newHash(), channels: rt.channels });
    assert.equal((await client.ended).code, 4401);
    const watcher = await rt.raw({ user: { row_id: 2 } });
    await until('nobody but the watcher', async () => (await watcher.joined('room', { presence: true })).presence.length === 1, { every: 100 });
  });
});

describe('the message trigger', () => {
  test('its response is what all receive and what history keeps', async () => {
    const { rt, calls } = await triggered({ message: true }, (b) => ({ seen: b.payload, by: 'hook' }), { flags: { history: 25 }, make: nested, name: 'chat' });
    const [a, b] = [await rt.raw({ user: { row_id: 1 } }), await rt.raw()];
    await a.joined('chat/x');
    await b.joined('chat/x');
    a.message('chat/x', 'hello');
    for (const side of [a, b]) assert.deepEqual((await side.wait({ action: 'message' })).payload, { seen: 'hello', by: 'hook' });
    const { history } = await b.history('chat/x');
    assert.deepEqual(history.map((f) => f.payload), [{ seen: 'hello', by: 'hook' }]);
    const [{ body }] = calls();
    assert.equal(body.action, 'message');
    assert.equal(body.channel, 'chat/x', 'the concrete name');
    assert.equal(body.payload, 'hello');
    assert.strictEqual(body.client.permissions.row_id, '1');
  });

  test('any JSON but false and null may replace the payload; order is kept though the hook takes unequal time', async () => {
    const replies = [[1, { a: 1 }], '', 0, {}, 'text', true, []];
    const { rt } = await triggered({ message: true }, (b) => answer({ raw: JSON.stringify(replies[b.payload]), delay: (replies.length - b.payload) * 20 }));
    const client = await rt.raw();
    await client.joined('room');
    for (const i of replies.keys()) client.message('room', i);
    const got = await client.frames.waitMany({ action: 'message' }, { count: replies.length });
    assert.deepEqual(got.map((f) => f.payload), replies);
  });

  for (const [what, reply] of Object.entries({ false: { raw: 'false' }, null: { raw: 'null' }, 'an empty body': { raw: '' } })) {
    test(`${what} blocks: Message was rejected., nobody gets it, nothing is kept`, async () => {
      let next = reply;
      const { rt } = await triggered({ message: true }, () => answer(next), { flags: { history: 25 } });
      const [a, b] = [await rt.raw(), await rt.raw()];
      await a.joined('room');
      await b.joined('room');
      a.message('room', 'blocked');
      assertError(await a.wait({ action: 'error' }), 'message_rejected', 'Message was rejected.', 'room');
      next = { value: 'fence' };
      a.message('room', 'x');
      await b.wait({ payload: 'fence' });
      assert.deepEqual(b.frames.filter({ action: 'message' }).map((f) => f.payload), ['fence']);
      assert.deepEqual((await b.history('room')).history.map((f) => f.payload), ['fence']);
    });
  }

  for (const [what, reply] of Object.entries({
    'status 500': { status: 500 }, 'status 302': { status: 302, headers: { location: '/elsewhere' } }, 'bad JSON': { raw: 'x' },
    'a dropped connection': { drop: true }, 'a timeout': { delay: 2000, value: 'late' },
  })) {
    test(`${what} blocks (fail closed); with on_failure allow the message goes out as sent`, async () => {
      const closed = await triggered({ message: true }, () => answer(reply), { trigger: { timeout_ms: 300 } });
      const a = await closed.rt.raw();
      await a.joined('room');
      a.message('room', 'x');
      const error = await a.wait({ action: 'error' });
      assert.match(error.payload.code, /^(message_rejected|trigger_failed)$/);
      assert.equal(error.payload.message, 'Message was rejected.');
      const opened = await triggered({ message: true }, () => answer(reply), { trigger: { timeout_ms: 300, on_failure: 'allow' } });
      const b = await opened.rt.raw();
      await b.joined('room');
      b.message('room', 'as sent');
      await b.wait({ action: 'message', payload: 'as sent' });
    });
  }

  test('comes after the permission check: what may not be sent does not reach it (12.18)', async () => {
    const { rt, calls } = await triggered({ message: true }, () => 'x', { flags: { client_public_messaging: false } });
    const client = await rt.raw();
    client.message('room', 'not joined');
    await client.wait({ action: 'error', payload: { code: 'not_joined' } });
    await client.joined('room');
    client.message('room', 'not allowed');
    await client.wait({ action: 'error', payload: { code: 'public_messaging_disabled' } });
    assert.equal(calls().length, 0);
  });

  test('fires for authenticated and private messages with options as sent, not for server events', async () => {
    const { rt, calls } = await triggered({ message: true }, (b) => `${b.payload}!`, { flags: { client_authenticated_messaging: true, client_private_messaging: true } });
    const [a, b] = [await rt.raw({ user: { row_id: 1 } }), await rt.raw({ user: { row_id: 2 } })];
    await a.joined('room');
    await b.joined('room');
    a.message('room', 'members', { authenticated: true });
    await b.wait({ payload: 'members!' });
    a.message('room', 'psst', { socketId: b.socketId });
    await b.wait({ payload: 'psst!' });
    await rt.event('room', 'event');
    await b.wait({ action: 'event', payload: { data: 'event' } });
    assert.deepEqual(calls().map((c) => [c.body.payload, c.body.options.authenticated ?? false]), [['members', true], ['psst', false]]);
    assert.equal(calls()[1].body.options.socketId, b.socketId);
  });

  test('a message with ref is answered after the trigger: ack, or an error with the ref', async () => {
    const { rt } = await triggered({ message: true }, (b) => b.payload);
    const client = await rt.raw();
    await client.joined('room');
    assert.equal((await client.publish('room', 'fine', { ref: 'r1' })).action, 'ack');
    const refused = await client.publish('room', false, { ref: 'r2' });
    assert.deepEqual([refused.action, refused.options.ref, refused.payload.code], ['error', 'r2', 'message_rejected']);
  });

  test('calls are signed as Standard Webhooks say when the trigger has a secret', async () => {
    const key = Buffer.from('0123456789abcdef0123456789abcdef');
    const { rt, calls } = await triggered({ message: true }, (b) => b.payload, { trigger: { secret: `whsec_${key.toString('base64')}` } });
    const client = await rt.raw();
    await client.joined('room');
    client.message('room', 'signed ü');
    await client.wait({ action: 'message' });
    const [{ headers, text }] = calls();
    assert.ok(headers['webhook-id']);
    assert.ok(Math.abs(Number(headers['webhook-timestamp']) - Date.now() / 1000) < 10);
    const expected = createHmac('sha256', key).update(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${text}`).digest('base64');
    assert.ok(headers['webhook-signature'].split(' ').includes(`v1,${expected}`), headers['webhook-signature']);
  });
});
