'use strict';
// xano-realtime.md 11.3 "Triggers and events", section 8; POST /api/v1/{hash}/events of design.md 2.3.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { serve, tick } = require('../lib/suite');
const { VERSIONS } = require('../lib/sdk');
const { open, rule, nested } = require('../lib/rules');
const { newHash } = require('../lib/server');

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    rule('news', { anonymous_clients: true }),
    nested('user', { anonymous_clients: true }),
    open('kept', { history: 100 }),
    open('off', { enabled: false }),
  ]),
}));

describe('an event', () => {
  for (const version of VERSIONS) {
    test(`SDK ${version}: has the shape of 4.5 and reaches all members`, async () => {
      const guest = await s.rt.sdk({ version }).open('news');
      const member = await s.rt.sdk({ version, user: { row_id: 1 } }).open('news');
      const data = { headline: 'ü', n: [1, null] };
      await s.rt.event('news', data);
      for (const side of [guest, member]) {
        const frame = await side.wait({ action: 'event' });
        assert.deepEqual(frame.payload, { data, dbo_id: 0, row_id: 0 });
        assert.equal(frame.options.channel, 'news');
      }
    });

    test(`SDK ${version}: aimed at a user reaches only that user's sockets on the channel`, async () => {
      const name = `user/${version}`;
      const target = [];
      for (const _ of tick(2)) target.push(await s.rt.sdk({ version, user: { dbo_id: 17, row_id: 3 } }).open(name));
      const others = [
        await s.rt.sdk({ version }).open(name),
        await s.rt.sdk({ version, user: { dbo_id: 17, row_id: 4 } }).open(name),
        await s.rt.sdk({ version, user: { dbo_id: 18, row_id: 3 } }).open(name),
        await s.rt.sdk({ version, user: { dbo_id: 17, row_id: 3 } }).open('news'),
      ];
      await s.rt.event(name, 'yours', { dbo_id: 17, row_id: 3 });
      for (const side of target) {
        const frame = await side.wait({ action: 'event', payload: { data: 'yours' } });
        assert.deepEqual(frame.payload, { data: 'yours', dbo_id: 17, row_id: 3 });
      }
      await s.rt.event(name, 'fence');
      await s.rt.event('news', 'fence');
      for (const side of others) {
        await side.wait({ action: 'event', payload: { data: 'fence' } });
        assert.equal(side.frames.filter({ action: 'event', payload: { data: 'yours' } }).length, 0);
      }
    });
  }

  test('client is null on the wire', async () => {
    const client = await s.rt.raw();
    await client.joined('news');
    await s.rt.event('news', 1);
    const frame = await client.wait({ action: 'event' });
    assert.strictEqual(frame.client, null);
  });

  test('any JSON as data', async () => {
    const client = await s.rt.raw();
    await client.joined('news');
    const values = ['', 0, false, null, [], {}, 'text', { a: [1] }];
    for (const value of values) await s.rt.event('news', value);
    const got = await client.frames.waitMany({ action: 'event' }, { count: values.length });
    assert.deepEqual(got.map((f) => f.payload.data), values);
  });

  test('auth_table and auth_id are other names of the target; "", null and 0 mean nobody in particular', async () => {
    const target = await s.rt.raw({ user: { dbo_id: 17, row_id: 5 } });
    const other = await s.rt.raw();
    await target.joined('user/a');
    await other.joined('user/a');
    await s.rt.event('user/a', 'aimed', { auth_table: 17, auth_id: 5 });
    await target.wait({ payload: { data: 'aimed' } });
    for (const [i, more] of [{ auth_table: '', auth_id: '' }, { auth_table: null, auth_id: null }, { auth_table: '0', auth_id: '0' }, { dbo_id: 0, row_id: 0 }].entries()) {
      await s.rt.event('user/a', `all ${i}`, more);
      const frame = await other.wait({ action: 'event', payload: { data: `all ${i}` } });
      assert.deepEqual([frame.payload.dbo_id, frame.payload.row_id], [0, 0]);
    }
    assert.equal(other.frames.filter({ payload: { data: 'aimed' } }).length, 0);
  });

  test('row ids that are UUIDs and numeric strings find their users', async () => {
    const uuid = '9f0c1c2e-0001-4a4a-8d6e-1234567890ab';
    const a = await s.rt.raw({ user: { row_id: uuid } });
    const b = await s.rt.raw({ user: { row_id: '77' } });
    await a.joined('user/b');
    await b.joined('user/b');
    await s.rt.event('user/b', 'a', { dbo_id: 17, row_id: uuid });
    await s.rt.event('user/b', 'b', { dbo_id: 17, row_id: '77' });
    assert.strictEqual((await a.wait({ action: 'event' })).payload.row_id, uuid);
    assert.strictEqual((await b.wait({ action: 'event' })).payload.row_id, 77);
    assert.equal(a.frames.filter({ action: 'event' }).length + b.frames.filter({ action: 'event' }).length, 2);
  });

  test('an anonymous client never gets a targeted event', async () => {
    const guest = await s.rt.raw();
    await guest.joined('user/c');
    await s.rt.event('user/c', 'aimed', { dbo_id: 17, row_id: 6 });
    await s.rt.event('user/c', 'fence');
    await guest.wait({ payload: { data: 'fence' } });
    assert.equal(guest.frames.filter({ action: 'event' }).length, 1);
  });

  test('socketId aims at one socket', async () => {
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    await a.joined('news');
    await b.joined('news');
    await s.rt.event('news', 'one', { socketId: a.socketId });
    await a.wait({ payload: { data: 'one' } });
    await s.rt.event('news', 'fence');
    await b.wait({ payload: { data: 'fence' } });
    assert.equal(b.frames.filter({ payload: { data: 'one' } }).length, 0);
  });

  test('events of one back end in sequence arrive in sequence', async () => {
    const client = await s.rt.raw();
    await client.joined('news');
    for (const i of tick(50)) await s.rt.event('news', i);
    const got = await client.frames.waitMany({ action: 'event' }, { count: 50 });
    assert.deepEqual(got.map((f) => f.payload.data), tick(50));
  });
});

describe('store and id', () => {
  test('the answer says id, offset and stored; the frame carries the same', async () => {
    const client = await s.rt.raw();
    await client.joined('kept');
    const fleeting = await s.rt.event('kept', 'fleeting');
    assert.equal(fleeting.stored, false);
    const stored = await s.rt.event('kept', 'stored', { store: true });
    const frame = await client.wait({ action: 'event', payload: { data: 'stored' } });
    assert.deepEqual([frame.options.id, frame.options.offset], [stored.id, stored.offset]);
  });

  test('the same id within 30 seconds is stored and delivered once', async () => {
    const client = await s.rt.raw();
    await client.joined('kept');
    const first = await s.rt.event('kept', 'once', { id: 'order-1' });
    const again = await s.rt.event('kept', 'once', { id: 'order-1' });
    assert.deepEqual([again.id, again.offset], [first.id, first.offset]);
    await s.rt.event('kept', 'fence');
    await client.wait({ payload: { data: 'fence' } });
    assert.equal(client.frames.filter({ payload: { data: 'once' } }).length, 1);
    assert.equal((await client.history('kept')).history.filter((f) => f.payload.data === 'once').length, 1);
  });

  test('ask for a channel with history: 422 history_required', async () => {
    for (const more of [{ store: true }, { id: 'x' }]) {
      const answer = await s.rt.api('POST', '/events', { channel: 'news', data: 1, ...more });
      assert.deepEqual([answer.status, answer.json?.code], [422, 'history_required']);
    }
  });
});

describe('refusals', () => {
  const refused = async (status, body, options) => {
    const answer = await s.rt.api('POST', '/events', body, options);
    assert.equal(answer.status, status, answer.text);
    assert.equal(typeof answer.json?.code, 'string', answer.text);
    assert.equal(typeof answer.json?.message, 'string', answer.text);
  };
  test('no key or a wrong one: 401', async () => {
    await refused(401, { channel: 'news', data: 1 }, { key: '' });
    await refused(401, { channel: 'news', data: 1 }, { key: 'wrong' });
  });
  test('a name without an enabled rule: 404', async () => {
    await refused(404, { channel: 'nothing', data: 1 });
    await refused(404, { channel: 'off', data: 1 });
    await refused(404, { channel: 'user', data: 1 });
  });
  test('an unknown hash: 404', async () => {
    const hash = s.rt.hash;
    s.rt.hash = newHash();
    try {
      await refused(404, { channel: 'news', data: 1 });
    } finally {
      s.rt.hash = hash;
    }
  });
  test('bad bodies: 400', async () => {
    for (const body of ['{', '[]', '"x"', '{}', '{"channel":"news"}', '{"channel":1,"data":1}', '{"channel":"","data":1}', '{"channel":"news","data":1,"dbo_id":"x","row_id":{}}']) {
      await refused(400, body);
    }
  });
  test('data over message_bytes: 422; a body over 1 MiB: 413', async () => {
    await refused(422, { channel: 'news', data: 'x'.repeat(70_000) });
    await refused(413, { channel: 'news', data: 'x'.repeat(1_100_000) });
  });
});
