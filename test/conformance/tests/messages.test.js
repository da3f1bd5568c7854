'use strict';
// xano-realtime.md 11.3 "Messages", except the permission table (permissions.test.js).

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { serve, assertError, tick } = require('../lib/suite');
const { VERSIONS } = require('../lib/sdk');
const { open, rule } = require('../lib/rules');

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    open('room1', { client_private_messaging: true, client_authenticated_messaging: true }),
    open('room2', { client_private_messaging: true }),
    open('Room1'),
    open('kept', { history: 100 }),
    rule('quiet', { anonymous_clients: true }),
  ]),
}));

const values = {
  string: 'hello', 'empty string': '', number: 42.5, 'negative zero exponent': 1e-7, zero: 0, true: true, false: false, null: null,
  array: [1, 'two', null, [3]], 'empty array': [], object: { a: { b: [1, { c: null }] } }, 'empty object': {},
  unicode: 'ä語🎺\u0000\u2028\u2029 "quoted" \\ </script>', 'keys like ours': { action: 'join', options: { channel: 'x' }, payload: 1 },
  'big integer as text': '9007199254740993',
};

describe('delivery', () => {
  test('the shape of a delivered message (4.3)', async () => {
    const client = await s.rt.raw({ user: { row_id: 2, extras: { n: 1 } } });
    const { answer } = await client.joined('room1');
    client.message('room1', { any: 'json' });
    const got = await client.wait({ action: 'message' });
    assert.deepEqual(Object.keys(got).sort(), ['action', 'client', 'options', 'payload']);
    assert.deepEqual(got.client, answer.client);
    assert.deepEqual(got.payload, { any: 'json' });
    assert.equal(got.options.channel, 'room1');
    assert.equal(got.options.authenticated, false);
    assert.equal(got.options.socketId, null);
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: echo to the sender, delivery to others, payload types unchanged`, async () => {
      const a = await s.rt.sdk({ version }).open('room1');
      const b = await s.rt.sdk({ version }).open('room1');
      for (const value of Object.values(values)) a.message(value);
      a.message(undefined);
      const expected = [...Object.values(values), null];
      for (const side of [a, b]) {
        const got = await side.frames.waitMany({ action: 'message' }, { count: expected.length });
        assert.deepEqual(got.map((f) => f.payload), expected);
        for (const frame of got) assert.equal(frame.options.channel, 'room1');
      }
    });
  }

  test('numbers keep every digit, objects their key order and duplicates', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    const payload = '{"z":9007199254740993,"a":1.000,"m":-0.0,"b":1e400,"2":[12345678901234567890]}';
    client.send(`{"action":"message","options":{"channel":"room1"},"payload":${payload}}`);
    await client.wait({ action: 'message' });
    const text = client.raw.at(-1).text;
    for (const part of ['9007199254740993', '12345678901234567890']) assert.ok(text.includes(part), text);
    assert.ok(text.indexOf('"z"') < text.indexOf('"a"'), `key order: ${text}`);
  });

  test('a message with history is echoed in the same shape', async () => {
    const client = await s.rt.raw();
    await client.joined('kept');
    for (const value of Object.values(values)) client.message('kept', value);
    const got = await client.frames.waitMany({ action: 'message' }, { count: Object.keys(values).length });
    assert.deepEqual(got.map((f) => f.payload), Object.values(values));
  });

  test('missing payload arrives as null', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    client.send({ action: 'message', options: { channel: 'room1' } });
    assert.strictEqual((await client.wait({ action: 'message' })).payload, null);
  });

  test('each sender\'s messages keep their order, 500 in a burst', async () => {
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    for (const name of ['room1', 'kept']) {
      await a.joined(name);
      await b.joined(name);
      for (const i of tick(500)) a.message(name, i);
      for (const side of [a, b]) {
        const got = await side.frames.waitMany({ action: 'message', options: { channel: name } }, { count: 500 });
        assert.deepEqual(got.map((f) => f.payload), tick(500), name);
      }
    }
  });

  test('all frames are text, one JSON object each, and the server never sends connection_status', async () => {
    const client = await s.rt.raw();
    await client.joined('room1', { presence: true, history: true });
    for (const i of tick(200)) client.message('room1', i);
    await client.frames.waitMany({ action: 'message' }, { count: 200 });
    for (const { text, binary } of client.raw) {
      assert.equal(binary, false);
      assert.equal(Object.prototype.toString.call(JSON.parse(text)), '[object Object]', text);
    }
    assert.equal(client.frames.filter({ action: 'connection_status' }).length, 0);
    assert.equal(client.frames.filter((f) => f.options?.channel !== 'room1').length, 0, 'options.channel on everything');
  });
});

describe('two channels on one socket', () => {
  for (const version of VERSIONS) {
    test(`SDK ${version}: do not leak into each other; names are case-sensitive`, async () => {
      const user = s.rt.sdk({ version });
      const [one, two, three] = user.prepare('room1', 'room2', 'Room1');
      for (const channel of [one, two, three]) channel.listen();
      await three.wait({ action: 'join' });
      one.message('for one');
      three.message('for three');
      two.message('for two');
      await two.wait({ action: 'message' });
      await one.wait({ action: 'message' });
      await three.wait({ action: 'message' });
      assert.deepEqual(one.frames.filter({ action: 'message' }).map((f) => f.payload), ['for one']);
      assert.deepEqual(two.frames.filter({ action: 'message' }).map((f) => f.payload), ['for two']);
      assert.deepEqual(three.frames.filter({ action: 'message' }).map((f) => f.payload), ['for three']);
    });
  }
});

describe('audiences', () => {
  test('WeWeb\'s {"authenticated":false,"socketId":null} is public, as are null and empty ones', async () => {
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    await a.joined('room1');
    await b.joined('room1');
    const forms = [
      { authenticated: false, socketId: null }, { socketId: '' }, { authenticated: null }, {},
      { authenticated: false, socketId: '', extra: 'key', another: { x: 1 } },
    ];
    for (const [i, options] of forms.entries()) {
      a.message('room1', i, options);
      const got = await b.wait({ action: 'message', payload: i });
      assert.equal(got.options.authenticated, false);
      assert.equal(got.options.socketId, null);
    }
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: authenticated:true reaches authenticated members only, the sender included; anonymous senders are refused`, async () => {
      const sender = await s.rt.sdk({ version, user: { row_id: 1 } }).open('room1');
      const member = await s.rt.sdk({ version, user: { row_id: 2 } }).open('room1');
      const guest = await s.rt.sdk({ version }).open('room1');
      sender.message('for members', { authenticated: true });
      for (const side of [sender, member]) {
        const got = await side.wait({ action: 'message', payload: 'for members' });
        assert.equal(got.options.authenticated, true);
        assert.equal(got.options.socketId, null);
      }
      guest.message('refused', { authenticated: true });
      const error = await guest.errors.wait({ action: 'error' });
      assertError(error, 'authenticated_only', 'Only authenticated clients can send messages on this channel.', 'room1');
      sender.message('fence');
      await guest.wait({ action: 'message', payload: 'fence' });
      await member.wait({ action: 'message', payload: 'fence' });
      assert.deepEqual(guest.frames.filter({ action: 'message' }).map((f) => f.payload), ['fence']);
      assert.deepEqual(member.frames.filter({ action: 'message' }).map((f) => f.payload), ['for members', 'fence']);
    });

    test(`SDK ${version}: private by a presence entry reaches the target only, without echo (12.12, 12.21)`, async () => {
      const sender = await s.rt.sdk({ version, user: { row_id: 1 } }).open('room1', { presence: true });
      const third = await s.rt.sdk({ version }).open('room1');
      const target = await s.rt.sdk({ version }).open('room1');
      const id = (await target.wait({ action: 'join' })).client.socketId;
      const own = (await sender.wait({ action: 'join' })).client.socketId;
      await sender.wait({ action: 'presence_update', payload: { action: 'join', presence: { socketId: id } } });
      sender.presence().find((c) => c.socketId === id).message('psst');
      const got = await target.wait({ action: 'message', payload: 'psst' });
      assert.equal(got.client.socketId, own);
      assert.equal(got.options.socketId, id);
      target.message('answer', { socketId: got.client.socketId });
      await sender.wait({ action: 'message', payload: 'answer' });
      sender.message('fence');
      for (const side of [sender, third, target]) await side.wait({ action: 'message', payload: 'fence' });
      assert.deepEqual(third.frames.filter({ action: 'message' }).map((f) => f.payload), ['fence']);
      assert.deepEqual(sender.frames.filter({ action: 'message' }).map((f) => f.payload), ['answer', 'fence']);
    });
  }

  test('private to oneself is allowed (12.22)', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    client.message('room1', 'note to self', { socketId: client.socketId });
    const got = await client.wait({ action: 'message' });
    assert.equal(got.options.socketId, client.socketId);
  });

  test('private to a member of another channel, an unknown id or one that left: error to the sender', async () => {
    const [a, elsewhere, gone] = [await s.rt.raw(), await s.rt.raw(), await s.rt.raw()];
    await a.joined('room1');
    await elsewhere.joined('room2');
    await gone.joined('room1');
    gone.leave('room1');
    await gone.settled();
    for (const socketId of [elsewhere.socketId, gone.socketId, 'x'.repeat(24), 'no such', '*', '>']) {
      const mark = a.mark;
      a.message('room1', 'lost', { socketId });
      assertError(await a.wait({ action: 'error' }, { from: mark }), 'recipient_not_found', 'Recipient is not in this channel.', 'room1');
    }
    await elsewhere.settled();
    await gone.settled();
    assert.equal(elsewhere.frames.filter({ action: 'message' }).length + gone.frames.filter({ action: 'message' }).length, 0);
  });

  test('private messages are never kept', async () => {
    const rt = await s.server.realtime([open('pk', { client_private_messaging: true, history: 25 })]);
    const [a, b] = [await rt.raw(), await rt.raw()];
    await a.joined('pk');
    await b.joined('pk');
    a.message('pk', 'secret', { socketId: b.socketId });
    await b.wait({ action: 'message', payload: 'secret' });
    a.message('pk', 'public');
    await b.wait({ action: 'message', payload: 'public' });
    const { history } = await b.history('pk');
    assert.deepEqual(history.map((f) => f.payload), ['public']);
  });
});

describe('who may send', () => {
  test('a send without membership is refused (12.8)', async () => {
    const client = await s.rt.raw();
    client.message('room1', 'x');
    assertError(await client.wait({ action: 'error' }), 'not_joined', 'You must join this channel first.', 'room1');
    client.message('room1', 'x', { socketId: 'y' });
    await client.frames.wait({ action: 'error', payload: { code: 'not_joined' } }, { count: 2 });
  });

  test('a channel nobody may write to says so', async () => {
    const client = await s.rt.raw();
    await client.joined('quiet');
    client.message('quiet', 'x');
    assertError(await client.wait({ action: 'error' }), 'public_messaging_disabled', 'Public messaging is disabled on this channel.', 'quiet');
    client.message('quiet', 'x', { socketId: client.socketId });
    assertError(await client.wait({ action: 'error', payload: { code: 'private_messaging_disabled' } }), undefined, 'Private messaging is disabled on this channel.', 'quiet');
  });

  test('a spoofed client, id or offset is not believed', async () => {
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    const { answer } = await a.joined('kept');
    await b.joined('kept');
    a.send({
      action: 'message', client: { socketId: b.socketId, extras: { admin: true }, permissions: { dbo_id: 17, row_id: 1 } },
      options: { channel: 'kept', id: 'mine', offset: '1', source: 'elsewhere', epoch: 'x' }, payload: 'spoof',
    });
    const got = await b.wait({ action: 'message', payload: 'spoof' });
    assert.deepEqual(got.client, answer.client);
    assert.notEqual(got.options.id, 'mine');
    assert.notEqual(got.options.offset, '1');
    assert.equal(got.options.source, undefined);
    const { history } = await b.history('kept', { limit: 1 });
    assert.deepEqual(history[0].client, answer.client);
  });
});

describe('the offline queue', () => {
  for (const version of VERSIONS) {
    test(`SDK ${version}: messages before open arrive once, in order, after the join`, async () => {
      const watcher = await s.rt.raw();
      await watcher.joined('room1');
      await watcher.joined('room2');
      const user = s.rt.sdk({ version });
      const [a, b] = user.prepare(['room1', { queueOfflineActions: true }], ['room2', { queueOfflineActions: true }]);
      a.listen();
      b.listen();
      a.message('a1');
      b.message('b1');
      a.message('a2');
      await a.frames.waitMany({ action: 'message' }, { count: 2 });
      await b.wait({ action: 'message' });
      await watcher.frames.waitMany({ action: 'message' }, { count: 3 });
      assert.deepEqual(user.attempt.sent.map((t) => JSON.parse(t)).map((f) => `${f.action} ${f.payload?.length ? f.payload : f.options.channel}`),
        ['join room1', 'message a1', 'message a2', 'join room2', 'message b1']);
      const heard = (name) => watcher.frames.filter({ action: 'message', options: { channel: name } }).map((f) => f.payload);
      assert.deepEqual([heard('room1'), heard('room2')], [['a1', 'a2'], ['b1']]);
      assert.equal(a.errors.length + b.errors.length, 0);
      assert.ok(a.frames.items.findIndex((f) => f.action === 'join') < a.frames.items.findIndex((f) => f.action === 'message'));
    });
  }
});
