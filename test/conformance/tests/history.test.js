'use strict';
// xano-realtime.md 11.3 "History" and section 6, and history paging of design.md 3.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { serve, assertError, tick } = require('../lib/suite');
const { VERSIONS } = require('../lib/sdk');
const { open, nested, rule } = require('../lib/rules');
const { span, until } = require('../lib/wait');

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    ...[25, 50, 100, 250, 1000].map((n) => nested(`h${n}`, { history: n, client_authenticated_messaging: true })),
    open('none'),
    rule('members', { history: 25, client_public_messaging: true }),
  ]),
}));

let rooms = 0;
const room = (n = 25) => `h${n}/${++rooms}`;

/** A room with n acknowledged messages, their payloads 0…n-1; gives the sender and the acks. */
async function filled(name, n) {
  const sender = await s.rt.raw();
  await sender.joined(name);
  const acks = await Promise.all(tick(n).map((i) => sender.published(name, i, { ref: String(i) })));
  return { sender, acks };
}

describe('history', () => {
  for (const version of VERSIONS) {
    test(`SDK ${version}: one frame at join, one more for history(); oldest first; full message frames`, async () => {
      const name = room();
      const writer = await s.rt.sdk({ version, user: { row_id: 5, extras: { name: 'W' } } }).open(name);
      for (const i of tick(5)) writer.message({ n: i });
      const sent = await writer.frames.waitMany({ action: 'message' }, { count: 5 });
      const reader = await s.rt.sdk({ version }).open(name, { history: true });
      const first = await reader.wait({ action: 'history' });
      assert.deepEqual(first.payload.history.map((f) => f.payload), tick(5).map((n) => ({ n })));
      for (const [i, frame] of first.payload.history.entries()) {
        assert.equal(frame.action, 'message');
        assert.deepEqual(frame.client, sent[i].client);
        assert.deepEqual(frame.options, sent[i].options, 'as it was delivered');
      }
      const joins = reader.frames.filter({ action: 'join' }).length;
      assert.equal(reader.frames.filter({ action: 'history' }).length, joins, 'one for each join');
      const mark = reader.mark;
      reader.history();
      const second = await reader.wait({ action: 'history' }, { from: mark });
      assert.deepEqual(second.payload.history, first.payload.history);
    });

    test(`SDK ${version}: not asked for, not sent; empty when off; a presence entry's history() is answered alike (12.15)`, async () => {
      const user = s.rt.sdk({ version });
      const [quiet, none] = user.prepare([room(), { presence: true }], ['none', { history: true }]);
      quiet.listen();
      none.listen();
      const empty = await none.wait({ action: 'history' });
      assert.deepEqual(empty.payload.history, []);
      assert.equal(quiet.frames.filter({ action: 'history' }).length, 0);
      const mark = none.mark;
      none.history();
      assert.deepEqual((await none.wait({ action: 'history' }, { from: mark })).payload.history, []);
      await quiet.wait({ action: 'presence_full' });
      quiet.presence()[0].history();
      assert.deepEqual((await quiet.wait({ action: 'history' })).payload.history, []);
    });
  }

  for (const n of [25, 50, 100, 250, 1000]) {
    test(`never more than ${n}, and the latest ones`, async () => {
      const name = room(n);
      const extra = 20;
      const { sender } = await filled(name, n + extra);
      const { history } = await sender.history(name);
      assert.deepEqual(history.map((f) => f.payload), tick(n + extra).slice(extra));
      const joiner = await s.rt.raw();
      assert.deepEqual((await joiner.joined(name, { history: true })).history.map((f) => f.payload), tick(n + extra).slice(extra));
    });
  }

  test('is kept per concrete channel', async () => {
    const [a, b] = [room(), room()];
    await filled(a, 3);
    const { sender } = await filled(b, 2);
    await sender.joined(a);
    assert.equal((await sender.history(a)).history.length, 3);
    assert.equal((await sender.history(b)).history.length, 2);
  });

  test('what was acknowledged is in the next answer, on the same socket and on others', async () => {
    const name = room(1000);
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    await a.joined(name);
    await b.joined(name);
    for (const i of tick(300)) {
      await a.published(name, i);
      const reader = i % 2 ? a : b;
      const { history } = await reader.history(name, { limit: 3 });
      assert.equal(history.at(-1)?.payload, i, `message ${i} was acknowledged and is not there`);
    }
    for (const i of tick(100)) {
      const fresh = room();
      await a.joined(fresh);
      await a.published(fresh, i);
      assert.deepEqual((await a.history(fresh)).history.map((f) => f.payload), [i], 'the first message of a channel');
      a.leave(fresh);
    }
  });

  test('messages for authenticated clients stand in the history of authenticated clients only', async () => {
    const name = room();
    const member = await s.rt.raw({ user: { row_id: 1 } });
    await member.joined(name);
    await member.published(name, 'for all');
    await member.published(name, 'for members', { authenticated: true });
    await member.published(name, 'for all again');
    const guest = await s.rt.raw();
    const seen = (await guest.joined(name, { history: true })).history.map((f) => f.payload);
    assert.deepEqual(seen, ['for all', 'for all again']);
    assert.deepEqual((await guest.history(name)).history.map((f) => f.payload), ['for all', 'for all again']);
    const other = await s.rt.raw({ user: { row_id: 2 } });
    assert.deepEqual((await other.joined(name, { history: true })).history.map((f) => f.payload), ['for all', 'for members', 'for all again']);
  });

  test('messages for members do not stand in the way of those for all', async () => {
    const name = room();
    const member = await s.rt.raw({ user: { row_id: 1 } });
    await member.joined(name);
    await member.published(name, 'for all');
    await Promise.all(tick(10).map((i) => member.published(name, i, { authenticated: true })));
    const guest = await s.rt.raw();
    assert.deepEqual((await guest.joined(name, { history: true })).history.map((f) => f.payload), ['for all']);
  });

  test('events are not kept unless they ask to be (12.14, design.md 2.3)', async () => {
    const name = room();
    const client = await s.rt.raw();
    await client.joined(name);
    await s.rt.event(name, 'fleeting');
    await client.wait({ action: 'event', payload: { data: 'fleeting' } });
    const stored = await s.rt.event(name, 'kept', { store: true });
    assert.equal(stored.stored, true);
    assert.ok(stored.offset);
    await client.wait({ action: 'event', payload: { data: 'kept' }, options: { offset: stored.offset } });
    const { history } = await client.history(name);
    assert.deepEqual(history.map((f) => [f.action, f.payload.data]), [['event', 'kept']]);
  });

  test('a request without membership is an error', async () => {
    const client = await s.rt.raw();
    const name = room();
    client.send({ action: 'history', options: { channel: name }, payload: null });
    assertError(await client.wait({ action: 'error' }), 'not_joined', 'You must join this channel first.', name);
  });

  test('a refused join gives none of it away', async () => {
    const member = await s.rt.raw({ user: { row_id: 1 } });
    await member.joined('members');
    await member.published('members', 'secret');
    const guest = await s.rt.raw();
    guest.send({ action: 'join', options: { channel: 'members' }, payload: { history: true, presence: true } });
    guest.send({ action: 'history', options: { channel: 'members' }, payload: null });
    await guest.frames.wait({ action: 'error' }, { count: 2 });
    assert.equal(guest.raw.some(({ text }) => text.includes('secret')), false);
  });

  test('setting a rule\'s history to 0 purges it; a smaller one cuts it, a larger one brings nothing back that was purged', async () => {
    const rt = await s.server.realtime([open('shrink', { history: 100 })]);
    const client = await rt.raw();
    await client.joined('shrink');
    await Promise.all(tick(60).map((i) => client.published('shrink', i)));
    const size = (n) => until(`history of ${n}`, async () => (await client.history('shrink')).history.length === n, { every: 50 });
    await size(60);
    await rt.put({ channels: [open('shrink', { history: 25 })] });
    await size(25);
    await rt.put({ channels: [open('shrink', { history: 0 })] });
    await size(0);
    await rt.put({ channels: [open('shrink', { history: 100 })] });
    await client.published('shrink', 'new');
    await until('only the new one', async () => {
      const { history } = await client.history('shrink');
      return history.length === 1 && history[0].payload === 'new';
    }, { every: 50 });
  });
});

describe('paging (design.md 3)', () => {
  test('limit, before, after and since; always oldest first; more says whether there is more that way', async () => {
    const name = room(100);
    const { sender, acks } = await filled(name, 60);
    const offset = (i) => acks[i].offset;
    const page = async (query) => {
      const { history, more } = await sender.history(name, query);
      return [history.map((f) => f.payload), more];
    };
    const range = (a, b) => tick(b).slice(a);
    assert.deepEqual(await page({ limit: 10 }), [range(50, 60), true]);
    assert.deepEqual(await page({ limit: 60 }), [range(0, 60), false]);
    assert.deepEqual(await page({ limit: 100 }), [range(0, 60), false]);
    assert.deepEqual(await page({ limit: 10, before: offset(50) }), [range(40, 50), true]);
    assert.deepEqual(await page({ limit: 10, before: offset(10) }), [range(0, 10), false]);
    assert.deepEqual(await page({ limit: 10, before: offset(0) }), [[], false]);
    assert.deepEqual(await page({ limit: 10, after: offset(9) }), [range(10, 20), true]);
    assert.deepEqual(await page({ limit: 10, after: offset(49) }), [range(50, 60), false]);
    assert.deepEqual(await page({ limit: 10, after: offset(59) }), [[], false]);
    assert.deepEqual(await page({ after: offset(29) }), [range(30, 60), false]);
  });

  test('walking back and forth meets every message once', async () => {
    const name = room(100);
    const { sender, acks } = await filled(name, 57);
    const back = [];
    for (let before, more = true; more;) {
      const answer = await sender.history(name, { limit: 10, ...(before ? { before } : {}) });
      back.unshift(...answer.history.map((f) => f.payload));
      before = answer.history[0]?.options.offset;
      more = answer.more;
    }
    assert.deepEqual(back, tick(57));
    const forth = [0];
    for (let after = acks[0].offset, more = true; more;) {
      const answer = await sender.history(name, { limit: 10, after });
      forth.push(...answer.history.map((f) => f.payload));
      after = answer.history.at(-1)?.options.offset;
      more = answer.more;
    }
    assert.deepEqual(forth, tick(57));
  });

  test('since takes RFC 3339 and Unix milliseconds', async () => {
    const name = room();
    const { sender } = await filled(name, 3);
    await span(30); // the two times must differ
    const between = Date.now();
    await span(30);
    await sender.published(name, 'later');
    for (const since of [between, new Date(between).toISOString()]) {
      const { history } = await sender.history(name, { since });
      assert.deepEqual(history.map((f) => f.payload), ['later'], String(since));
    }
  });

  test('parameters that are none are errors', async () => {
    const name = room();
    const { sender } = await filled(name, 2);
    for (const payload of [{ limit: -5 }, { limit: 'ten' }, { limit: 1.5 }, { before: {} }, { after: true }, { since: 'yesterday' }, { before: 'abc' }, 'text', [1]]) {
      const mark = sender.mark;
      sender.send({ action: 'history', options: { channel: name }, payload });
      const answer = await sender.wait((f) => f.action === 'error' || f.action === 'history', { from: mark });
      assertError(answer, 'invalid_message', undefined, name);
    }
  });

  test('stock clients get no more than they ask: payload null answers everything kept', async () => {
    const name = room();
    const { sender } = await filled(name, 30);
    const { history } = await sender.history(name, null);
    assert.deepEqual(history.map((f) => f.payload), tick(30).slice(5));
  });
});
