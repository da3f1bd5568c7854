'use strict';
// xano-realtime.md 11.3 "Join / leave".

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { serve, assertError, assertAnonymous, tick } = require('../lib/suite');
const { VERSIONS } = require('../lib/sdk');
const { open, nested, rule } = require('../lib/rules');

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    open('room1', { history: 25 }),
    open('room2'),
    open('plain', { presence: false }),
    rule('members', { presence: true, client_public_messaging: true }),
    open('off', { enabled: false }),
    nested('chat'),
    // Precedence: what a name may do tells which rule won.
    nested('p', { client_public_messaging: false }),
    nested('p/q', { client_public_messaging: true }),
    open('p/q/exact', { client_public_messaging: false }),
    open('p/q/dark', { enabled: false, client_public_messaging: false }),
    nested('p/q/gone', { enabled: false, client_public_messaging: false }),
    { pattern: 'spelled/*', enabled: true, anonymous_clients: true, client_public_messaging: true },
  ]),
}));

describe('the answer to a join', () => {
  test('is join, presence_full, history, in this order, each naming the channel (12.6)', async () => {
    const client = await s.rt.raw();
    await client.joined('room1', { presence: true, history: true });
    assert.deepEqual(client.frames.items.map((f) => f.action), ['join', 'presence_full', 'history']);
    for (const frame of client.frames.items) assert.equal(frame.options.channel, 'room1');
    const [join, full, history] = client.frames.items;
    assert.equal(join.payload, null);
    assertAnonymous(join.client);
    assert.deepEqual(full.payload.presence, [join.client]);
    assert.deepEqual(history.payload.history, []);
  });

  test('flags that are missing, null or false ask for nothing', async () => {
    for (const payload of [null, {}, { history: false, presence: false }, { history: null, presence: null }]) {
      const client = await s.rt.raw();
      client.send({ action: 'join', options: { channel: 'room1' }, payload });
      await client.wait({ action: 'join' });
      await client.settled();
      assert.deepEqual(client.frames.items.map((f) => f.action), ['join', 'error'], JSON.stringify(payload));
    }
    const client = await s.rt.raw();
    client.send({ action: 'join', options: { channel: 'room1' } });
    await client.wait({ action: 'join' });
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: catch-all and on("join") listeners get it with the own socket id`, async () => {
      const user = s.rt.sdk({ version });
      const [channel] = user.prepare(['room1', { presence: true, history: true }]);
      const own = [];
      channel.channel.on('join', (f) => own.push(f.client.socketId));
      channel.listen();
      await channel.wait({ action: 'history' });
      assert.deepEqual([...new Set(own)], [channel.presence()[0].socketId]);
    });
  }
});

describe('a refused join', () => {
  test('anonymous without anonymous_clients: the exact text', async () => {
    const client = await s.rt.raw();
    client.send({ action: 'join', options: { channel: 'members' }, payload: { history: true, presence: true } });
    const error = await client.wait({ action: 'error' });
    assertError(error, 'anonymous_not_allowed', 'Anonymous clients cannot join this channel.', 'members');
    await client.settled();
    assert.equal(client.frames.filter((f) => f.options?.channel === 'members').length, 1, 'nothing but the error');
    assert.equal(client.closed, undefined, 'the socket stays');
  });

  test('no rule and a disabled rule: Channel not found.', async () => {
    const client = await s.rt.raw({ user: { row_id: 1 } });
    for (const name of ['nobody-made-this', 'off', 'chat', 'room1/x', 'room', 'chat/', 'chatter/x']) {
      const { error } = await client.join(name);
      assert.deepEqual([error?.code, error?.message], ['channel_not_found', 'Channel not found.'], name);
    }
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: reaches on(fn, err) and on("error", _, err) of that channel only`, async () => {
      const user = s.rt.sdk({ version });
      const [good, bad] = user.prepare('room1', 'members');
      const seen = [];
      good.channel.on('error', () => seen.push('good, function'), () => seen.push('good, error function'));
      good.listen();
      bad.channel.on('error', () => seen.push('bad, function'), () => seen.push('bad, error function'));
      bad.channel.on('message', () => {}, () => seen.push('bad, message listener'));
      bad.listen();
      const error = await bad.errors.wait({ action: 'error' });
      assert.equal(error.payload.message, 'Anonymous clients cannot join this channel.');
      good.message('flows');
      await good.wait({ action: 'message', payload: 'flows' });
      assert.deepEqual([...new Set(seen)], ['bad, error function']);
      assert.equal(good.errors.length, 0);
    });
  }
});

describe('a double join', () => {
  test('no second announcement, single delivery; the socket itself is answered again', async () => {
    const watcher = await s.rt.raw();
    await watcher.joined('room1', { presence: true });
    const client = await s.rt.raw();
    const first = await client.joined('room1', { presence: true, history: true });
    const second = await client.joined('room1', { presence: true, history: true });
    assert.deepEqual(second.answer.client, first.answer.client);
    assert.equal(second.presence.filter((c) => c.socketId === client.socketId).length, 1);
    client.message('room1', 'once');
    await client.wait({ action: 'message', payload: 'once' });
    await watcher.wait({ action: 'message', payload: 'once' });
    client.message('room1', 'fence');
    await client.wait({ action: 'message', payload: 'fence' });
    await watcher.wait({ action: 'message', payload: 'fence' });
    assert.equal(client.frames.filter({ payload: 'once' }).length, 1);
    assert.equal(watcher.frames.filter({ action: 'presence_update', payload: { presence: { socketId: client.socketId } } }).length, 1);
    client.leave('room1');
    await watcher.wait({ action: 'presence_update', payload: { action: 'leave', presence: { socketId: client.socketId } } });
    watcher.message('room1', 'after leave');
    await watcher.wait({ action: 'message', payload: 'after leave' });
    await client.settled();
    assert.equal(client.frames.filter({ payload: 'after leave' }).length, 0, 'one leave ends it');
  });

  test('a joiner gets no presence_update about itself', async () => {
    const client = await s.rt.raw();
    await client.joined('room1', { presence: true });
    await client.joined('room1', { presence: true });
    client.message('room1', 'x');
    await client.wait({ action: 'message' });
    await client.settled();
    assert.equal(client.frames.filter({ action: 'presence_update' }).length, 0);
  });

  test('the presence flag may come with the second join', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    const { presence } = await client.joined('room1', { presence: true });
    assert.equal(presence.length, 1);
    const other = await s.rt.raw();
    await other.joined('room1');
    await client.wait({ action: 'presence_update', payload: { action: 'join', presence: { socketId: other.socketId } } });
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: a channel made on an open socket joins twice, and nothing is doubled`, async () => {
      const watcher = await s.rt.raw();
      await watcher.joined('room2', { presence: true });
      const user = s.rt.sdk({ version });
      const [first] = user.prepare('room1');
      first.listen();
      await first.wait({ action: 'connection_status', payload: { status: 'connected' } });
      const second = await user.open('room2', { presence: true });
      await second.wait({ action: 'presence_full' });
      second.message('only once');
      await second.wait({ action: 'message', payload: 'only once' });
      second.message('fence');
      await second.wait({ action: 'message', payload: 'fence' });
      await watcher.wait({ payload: 'fence' });
      assert.equal(second.frames.filter({ payload: 'only once' }).length, 1);
      assert.equal(watcher.frames.filter({ action: 'presence_update' }).length, 1);
      assert.equal(second.presence().length, 2);
    });
  }
});

describe('leave', () => {
  test('join, join, leave, join, join in one burst ends joined', async () => {
    const watcher = await s.rt.raw();
    await watcher.joined('room1', { presence: true });
    const client = await s.rt.raw();
    const join = { action: 'join', options: { channel: 'room1' }, payload: { history: false, presence: true } };
    client.send(join).send(join).leave('room1').send(join).send(join).message('room1', 'in');
    await client.wait({ action: 'message', payload: 'in' });
    await watcher.wait({ action: 'message', payload: 'in' });
    assert.equal(client.frames.filter({ action: 'error' }).length, 0);
    assert.equal(client.frames.filter({ payload: 'in' }).length, 1);
    const later = await s.rt.raw();
    const { presence } = await later.joined('room1', { presence: true });
    assert.equal(presence.filter((c) => c.socketId === client.frames.items[0].client.socketId).length, 1);
  });

  test('stops delivery', async () => {
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    await a.joined('room2');
    await b.joined('room2');
    b.leave('room2');
    await b.settled();
    const mark = b.mark;
    a.message('room2', 'unheard');
    await a.wait({ action: 'message', payload: 'unheard' });
    await b.joined('room2');
    a.message('room2', 'heard');
    await b.wait({ action: 'message', payload: 'heard' });
    assert.equal(b.since(mark, { payload: 'unheard' }).length, 0);
  });

  test('of a channel never joined does no harm', async () => {
    const client = await s.rt.raw();
    client.leave('room1').leave('nothing');
    await client.settled();
    await client.joined('room1');
    assert.equal(client.closed, undefined);
  });

  test('closing the socket leaves all channels, at once', async () => {
    const watcher = await s.rt.raw();
    await watcher.joined('room1', { presence: true });
    await watcher.joined('room2', { presence: true });
    const client = await s.rt.raw();
    await client.joined('room1');
    await client.joined('room2');
    client.socket.close(1000);
    for (const channel of ['room1', 'room2']) {
      await watcher.wait({ action: 'presence_update', options: { channel }, payload: { action: 'leave', presence: { socketId: client.socketId } } });
    }
  });

  for (const version of VERSIONS) {
    test(`SDK ${version}: destroying one of two channels keeps the socket`, async () => {
      const user = s.rt.sdk({ version });
      const [one, two] = user.prepare('room1', 'room2');
      one.listen();
      two.listen();
      await two.wait({ action: 'join' });
      one.destroy();
      const mark = one.mark;
      two.message('still here');
      await two.wait({ action: 'message', payload: 'still here' });
      const other = await s.rt.raw();
      await other.joined('room1');
      other.message('room1', 'nobody hears');
      await other.wait({ action: 'message' });
      two.message('fence');
      await two.wait({ action: 'message', payload: 'fence' });
      assert.equal(one.frames.filter((f) => f.action !== 'connection_status', mark).length, 0);
      assert.equal(user.attempts[0].received.filter((r) => r.text.includes('nobody hears')).length, 0);
    });

    test(`SDK ${version}: destroying the last channel closes with 1000, is answered 1000, and no disconnected is heard`, async () => {
      const watcher = await s.rt.raw();
      await watcher.joined('room1', { presence: true });
      const user = s.rt.sdk({ version });
      const channel = await user.open('room1');
      const socket = user.attempt;
      channel.destroy();
      await watcher.wait({ action: 'presence_update', payload: { action: 'leave' } });
      await new Promise((resolve) => (socket.closed ? resolve() : socket.socket.once('close', resolve)));
      assert.equal(socket.closed.code, 1000);
      assert.deepEqual(channel.statuses(), ['connected']);
      assert.equal(user.attempts.length, 1);
    });
  }
});

describe('nested channels', () => {
  test('chat/* admits chat/a and chat/a/b, not chat, chat/ or chatter (12.3, 12.4)', async () => {
    const client = await s.rt.raw();
    for (const name of ['chat/a', 'chat/a/b', 'chat/a/b/c/d', 'chat/ä ö/🎺', 'spelled/x']) await client.joined(name);
    for (const name of ['chat', 'chat/', 'chatter', 'Chat/a', 'spelled']) {
      assert.equal((await client.join(name)).error?.code, 'channel_not_found', name);
    }
  });

  test('precedence: exact, then the longest base; disabled rules do not count (12.2)', async () => {
    const client = await s.rt.raw();
    const may = {
      'p/x': false, 'p/x/q': false, 'p/q': false, 'p/q/x': true, 'p/q/exact': false,
      'p/q/exact/below': true, 'p/q/dark': true, 'p/q/gone/x': true,
    };
    for (const [name, allowed] of Object.entries(may)) {
      await client.joined(name);
      const mark = client.mark;
      client.message(name, 'x');
      const got = await client.wait((f) => f.options?.channel === name && f.action !== 'join', { from: mark });
      assert.equal(got.action, allowed ? 'message' : 'error', name);
    }
  });

  test('siblings do not hear each other', async () => {
    const client = await s.rt.raw();
    for (const name of ['chat/a', 'chat/b', 'chat/a/b']) await client.joined(name);
    client.message('chat/a', 'for a');
    await client.wait({ action: 'message', payload: 'for a' });
    client.message('chat/a/b', 'fence').message('chat/b', 'fence');
    await client.wait({ action: 'message', payload: 'fence', options: { channel: 'chat/b' } });
    assert.deepEqual(client.frames.filter({ payload: 'for a' }).map((f) => f.options.channel), ['chat/a']);
  });
});

test('a hundred channels on one socket', async () => {
  const client = await s.rt.raw();
  const names = tick(100).map((i) => `chat/many/${i}`);
  for (const name of names) client.send({ action: 'join', options: { channel: name }, payload: { history: true, presence: true } });
  await client.frames.waitMany({ action: 'presence_full' }, { count: 100 });
  for (const name of names) client.message(name, name);
  const got = await client.frames.waitMany({ action: 'message' }, { count: 100 });
  for (const frame of got) assert.equal(frame.payload, frame.options.channel);
});
