'use strict';
// The extensions of design.md 3: ids and offsets, acknowledgement, resume, pattern join. (History paging is in
// history.test.js, presence data in presence.test.js.)

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { serve, assertError, tick } = require('../lib/suite');
const { open, nested } = require('../lib/rules');
const { until } = require('../lib/wait');

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    nested('kept', { history: 100, client_authenticated_messaging: true, client_private_messaging: true }),
    nested('small', { history: 25 }),
    nested('deep', { history: 1000 }),
    nested('live', { client_private_messaging: true }),
    nested('any', { pattern_join: 'anyone', history: 100, client_authenticated_messaging: true, client_private_messaging: true }),
    open('any/own', { history: 25 }),
    nested('any/sub', { history: 25 }),
    nested('auth', { pattern_join: 'authenticated' }),
    nested('nobody'),
  ]),
}));

let rooms = 0;
const room = (base = 'kept') => `${base}/${++rooms}`;

describe('ids and offsets', () => {
  test('every stored frame has an id of its own and an offset that grows; history shows the same', async () => {
    const name = room();
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    await a.joined(name);
    await b.joined(name);
    for (const i of tick(10)) (i % 2 ? a : b).message(name, i);
    const got = await a.frames.waitMany({ action: 'message' }, { count: 10 });
    const also = await b.frames.waitMany({ action: 'message' }, { count: 10 });
    assert.deepEqual(got.map((f) => [f.options.id, f.options.offset, f.payload]), also.map((f) => [f.options.id, f.options.offset, f.payload]), 'one order for all');
    assert.equal(new Set(got.map((f) => f.options.id)).size, 10);
    for (const f of got) {
      assert.equal(typeof f.options.id, 'string');
      assert.match(f.options.offset, /^\d+$/);
    }
    for (let i = 1; i < got.length; i++) assert.ok(BigInt(got[i].options.offset) > BigInt(got[i - 1].options.offset));
    const { history } = await a.history(name);
    assert.deepEqual(history, got, 'frame for frame');
  });

  test('the join answer carries the end of the channel: offset and epoch', async () => {
    const name = room();
    const a = await s.rt.raw();
    await a.joined(name);
    const { offset } = await a.published(name, 'x');
    const b = await s.rt.raw();
    const { answer } = await b.joined(name);
    assert.equal(answer.options.offset, offset);
    assert.equal(typeof answer.options.epoch, 'string');
    assert.ok(answer.options.epoch.length > 0 && answer.options.epoch.length <= 64);
    assert.equal(answer.payload, null);
  });

  test('frames of a channel without history carry no offset', async () => {
    const name = room('live');
    const a = await s.rt.raw();
    await a.joined(name);
    a.message(name, 'x');
    assert.equal((await a.wait({ action: 'message' })).options.offset, undefined);
  });
});

describe('acknowledgement', () => {
  test('has exactly the shape of design.md 3, with the id and offset of the delivered frame', async () => {
    const name = room();
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    await a.joined(name);
    await b.joined(name);
    const ack = await a.publish(name, 'x', { ref: 'my ref ü' });
    assert.equal(ack.action, 'ack');
    assert.deepEqual(ack.options, { channel: name, ref: 'my ref ü' });
    assert.deepEqual(Object.keys(ack.payload).sort(), ['id', 'offset']);
    const frame = await b.wait({ action: 'message' });
    assert.deepEqual([frame.options.id, frame.options.offset], [ack.payload.id, ack.payload.offset]);
    assert.equal(frame.options.ref, undefined, 'a ref belongs to its socket');
    const own = await a.wait({ action: 'message' });
    assert.equal(own.options.ref, undefined);
  });

  test('without history: acknowledged, without offset', async () => {
    const name = room('live');
    const a = await s.rt.raw();
    await a.joined(name);
    const ack = await a.publish(name, 'x', { ref: 'r' });
    assert.deepEqual([ack.action, ack.options.ref, 'offset' in ack.payload], ['ack', 'r', false]);
    assert.equal(typeof ack.payload.id, 'string');
  });

  test('private and authenticated messages are acknowledged too', async () => {
    const name = room();
    const a = await s.rt.raw({ user: { row_id: 1 } });
    await a.joined(name);
    assert.equal((await a.publish(name, 'x', { ref: 'p', socketId: a.socketId })).action, 'ack');
    assert.equal((await a.publish(name, 'x', { ref: 'a', authenticated: true })).action, 'ack');
  });

  test('without a ref there is no ack', async () => {
    const name = room();
    const a = await s.rt.raw();
    await a.joined(name);
    a.message(name, 'x');
    await a.wait({ action: 'message' });
    await a.published(name, 'y');
    assert.equal(a.frames.filter({ action: 'ack' }).length, 1);
  });

  test('an error carries the ref as well', async () => {
    const a = await s.rt.raw();
    const error = await a.publish('kept/never-joined', 'x', { ref: 'r1' });
    assertError(error, 'not_joined', undefined, 'kept/never-joined');
    assert.equal(error.options.ref, 'r1');
    const name = room('live');
    await a.joined(name);
    const second = await a.publish(name, 'x', { ref: 'r2', socketId: 'nobody' });
    assert.deepEqual([second.options.ref, second.payload.code], ['r2', 'recipient_not_found']);
  });

  test('the same ref again within 30 s is stored once and answered with the first id and offset', async () => {
    const name = room();
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    await a.joined(name);
    await b.joined(name);
    const first = await a.published(name, 'once', { ref: 'same' });
    const second = await a.published(name, 'once', { ref: 'same' });
    assert.deepEqual(second, first);
    await a.published(name, 'fence');
    await b.wait({ payload: 'fence' });
    assert.equal(b.frames.filter({ payload: 'once' }).length, 1);
    assert.deepEqual((await b.history(name)).history.map((f) => f.payload), ['once', 'fence']);
  });

  test('the same ref twice in one burst, before the first is answered', async () => {
    const name = room();
    const a = await s.rt.raw();
    await a.joined(name);
    a.message(name, 'once', { ref: 'burst' }).message(name, 'once', { ref: 'burst' });
    const [first, second] = await a.frames.waitMany({ action: 'ack' }, { count: 2 });
    assert.deepEqual(first, second);
    assert.equal((await a.history(name)).history.length, 1);
  });

  test('the same ref on another socket is another message', async () => {
    const name = room();
    const [a, b] = [await s.rt.raw(), await s.rt.raw()];
    await a.joined(name);
    await b.joined(name);
    const one = await a.published(name, 'a', { ref: 'r' });
    const two = await b.published(name, 'b', { ref: 'r' });
    assert.notEqual(one.id, two.id);
    assert.deepEqual((await a.history(name)).history.map((f) => f.payload), ['a', 'b']);
  });

  test('a ref of 64 bytes is fine; a longer one or another type is an error', async () => {
    const name = room();
    const a = await s.rt.raw();
    await a.joined(name);
    assert.equal((await a.publish(name, 'x', { ref: 'r'.repeat(64) })).action, 'ack');
    for (const ref of ['r'.repeat(65), 'ü'.repeat(33), 5, {}, [], true]) {
      const mark = a.mark;
      a.message(name, 'bad', { ref });
      assertError(await a.wait((f) => f.action === 'error' || f.action === 'ack', { from: mark }), 'invalid_message');
    }
    assert.equal((await a.history(name)).history.length, 1);
  });

  test('500 messages with refs in one burst: every one is answered, in the order of the channel', async () => {
    const name = room('deep');
    const a = await s.rt.raw();
    await a.joined(name);
    for (const i of tick(500)) a.message(name, i, { ref: String(i) });
    const acks = await a.frames.waitMany((f) => f.action === 'ack' || f.action === 'error', { count: 500, timeout: 20_000 });
    assert.deepEqual(acks.map((f) => [f.action, f.options.ref]), tick(500).map((i) => ['ack', String(i)]));
    for (let i = 1; i < 500; i++) assert.ok(BigInt(acks[i].payload.offset) > BigInt(acks[i - 1].payload.offset));
  });
});

describe('resume', () => {
  /** Frames of a channel that came on a socket, after the join answer. */
  const after = (client, result, name) => client.since(result.from, { options: { channel: name } }).filter((f) => ['message', 'event', 'history'].includes(f.action));

  test('true: the missed frames follow the join answer in order and come before live ones', async () => {
    const name = room();
    const writer = await s.rt.raw();
    await writer.joined(name);
    const reader = await s.rt.raw();
    const { answer } = await reader.joined(name);
    const { offset } = await writer.published(name, 'seen');
    await reader.wait({ payload: 'seen' });
    await reader.close();
    for (const i of tick(10)) await writer.published(name, i);
    await s.rt.event(name, 'event', { store: true });
    const again = await s.rt.raw();
    const result = await again.joined(name, { resume: { offset, epoch: answer.options.epoch } });
    assert.deepEqual(result.answer.payload, { resumed: true });
    await writer.published(name, 'live');
    await again.wait({ payload: 'live' });
    const got = after(again, result, name);
    assert.deepEqual(got.map((f) => f.payload?.data ?? f.payload), [...tick(10), 'event', 'live']);
    assert.deepEqual(got.map((f) => f.action), [...tick(10).map(() => 'message'), 'event', 'message']);
    for (const f of got) assert.match(f.options.offset, /^\d+$/);
  });

  test('without the epoch works too; at the end of the channel there is nothing to catch up', async () => {
    const name = room();
    const writer = await s.rt.raw();
    await writer.joined(name);
    const { offset } = await writer.published(name, 'seen');
    const again = await s.rt.raw();
    const result = await again.joined(name, { resume: { offset } });
    assert.deepEqual(result.answer.payload, { resumed: true });
    await writer.published(name, 'live');
    await again.wait({ payload: 'live' });
    assert.deepEqual(after(again, result, name).map((f) => f.payload), ['live']);
  });

  test('from the offset of the join answer, before anything was ever said', async () => {
    const name = room();
    const reader = await s.rt.raw();
    const { answer } = await reader.joined(name);
    await reader.close();
    const writer = await s.rt.raw();
    await writer.joined(name);
    await writer.published(name, 'first');
    const again = await s.rt.raw();
    const result = await again.joined(name, { resume: { offset: answer.options.offset, epoch: answer.options.epoch } });
    assert.deepEqual(result.answer.payload, { resumed: true });
    assert.equal((await again.wait({ action: 'message' })).payload, 'first');
  });

  test('from an offset just acknowledged, by a socket that joins at that moment', async () => {
    const name = room();
    const writer = await s.rt.raw();
    await writer.joined(name);
    const reader = await s.rt.raw();
    for (const i of tick(150)) {
      const { offset } = await writer.published(name, i);
      const { answer, from } = await reader.joined(name, { resume: { offset } });
      assert.deepEqual(answer.payload, { resumed: true }, `round ${i}`);
      writer.message(name, 'fence');
      await reader.wait({ payload: 'fence' }, { from });
      assert.deepEqual(reader.since(from, { action: 'message' }).map((f) => f.payload), ['fence'], `round ${i}: what came before is known`);
      reader.leave(name);
      await reader.settled();
    }
  });

  test('false with another epoch: the latest history follows, whatever history said', async () => {
    const name = room();
    const writer = await s.rt.raw();
    await writer.joined(name);
    const { offset } = await writer.published(name, 'one');
    await writer.published(name, 'two');
    const again = await s.rt.raw();
    const result = await again.joined(name, { history: false, resume: { offset, epoch: 'another' } });
    assert.deepEqual(result.answer.payload, { resumed: false });
    const history = await again.wait({ action: 'history', options: { channel: name } });
    assert.deepEqual(history.payload.history.map((f) => f.payload), ['one', 'two']);
    assert.deepEqual(after(again, result, name).map((f) => f.action), ['history']);
  });

  test('false where what was missed is no longer kept', async () => {
    const name = room('deep');
    const writers = await Promise.all(tick(20).map(() => s.rt.raw()));
    await Promise.all(writers.map((w) => w.joined(name)));
    const { offset } = await writers[0].published(name, 'seen');
    await Promise.all(writers.map(async (w) => {
      for (const i of tick(60)) await w.published(name, i);
    }));
    const again = await s.rt.raw();
    const { answer } = await again.joined(name, { resume: { offset } });
    assert.deepEqual(answer.payload, { resumed: false });
    const { payload } = await again.wait({ action: 'history' });
    assert.equal(payload.history.length, 1000);
  });

  test('more than N missed: either all of them come, or it says false and shows the latest N', async () => {
    const name = room('small');
    const writer = await s.rt.raw();
    await writer.joined(name);
    const { offset } = await writer.published(name, 'seen');
    for (const i of tick(60)) await writer.published(name, i);
    const again = await s.rt.raw();
    const result = await again.joined(name, { resume: { offset } });
    if (result.answer.payload.resumed) {
      const got = await again.frames.waitMany({ action: 'message' }, { count: 60, from: result.from });
      assert.deepEqual(got.map((f) => f.payload), tick(60));
    } else {
      const { payload } = await again.wait({ action: 'history' });
      assert.deepEqual(payload.history.map((f) => f.payload), tick(60).slice(-25));
    }
  });

  test('false after a purge of what was missed: never a silent hole', async () => {
    const rt = await s.server.realtime([open('x', { history: 100 })]);
    const writer = await rt.raw();
    await writer.joined('x');
    const { offset } = await writer.published('x', 'seen');
    await writer.published('x', 'missed');
    await rt.put({ channels: [open('x', { history: 0 })] });
    await until('the purge', async () => (await writer.history('x')).history.length === 0, { every: 50 });
    await rt.put({ channels: [open('x', { history: 100 })] });
    await until('history to be on again', async () => (await writer.published('x', 'new')).offset !== undefined, { every: 50 });
    const again = await rt.raw();
    const { answer } = await again.joined('x', { resume: { offset } });
    assert.deepEqual(answer.payload, { resumed: false });
  });

  for (const [name, before, meanwhile] of [
    ['history is switched off', [open('gap', { history: 100 })], [open('gap', { history: 0 })]],
    ['another rule that keeps nothing covers the channel', [open('gap/*', { history: 100 })], [open('gap/*', { history: 100 }), open('gap/a', { history: 0 })]],
    ['the rule is deleted', [open('gap', { history: 100 })], []],
  ]) {
    test(`false, and nothing from before, when meanwhile ${name}`, async () => {
      const rt = await s.server.realtime(before);
      const channel = before[0].pattern.endsWith('*') || before[0].wildcard ? 'gap/a' : 'gap';
      const writer = await rt.raw();
      const { answer } = await writer.joined(channel);
      const { epoch } = answer.options;
      const early = await writer.published(channel, 'secret');
      const { offset } = await writer.published(channel, 'seen');
      await rt.put({ channels: meanwhile });
      if (meanwhile.length > 0) {
        await until('history to be off', async () => (await writer.published(channel, 'missed')).offset === undefined, { every: 50 });
      }
      await rt.put({ channels: before });
      const again = await rt.raw();
      await again.joined(channel);
      await until('history to be on again', async () => (await again.published(channel, 'new')).offset !== undefined, { every: 50 });
      for (const resume of [{ offset, epoch }, { offset }, { offset: early.offset, epoch }]) {
        const client = await rt.raw();
        const result = await client.joined(channel, { resume });
        assert.deepEqual(result.answer.payload, { resumed: false }, JSON.stringify(resume));
        const { payload } = await client.wait({ action: 'history', options: { channel } });
        assert.ok(payload.history.length > 0 && payload.history.every((f) => f.payload === 'new'), JSON.stringify(payload.history));
      }
      const now = await again.joined(channel);
      const last = await again.published(channel, 'last');
      const client = await rt.raw();
      const good = await client.joined(channel, { resume: { offset: last.offset, epoch: now.answer.options.epoch } });
      assert.deepEqual(good.answer.payload, { resumed: true }, 'offsets of the new era are good');
    });
  }

  test('a rule that is switched off and on again, which nobody could send through meanwhile, breaks nothing', async () => {
    const rt = await s.server.realtime([open('pause', { history: 100 })]);
    const writer = await rt.raw();
    const { answer } = await writer.joined('pause');
    const { offset } = await writer.published('pause', 'seen');
    await rt.put({ channels: [open('pause', { history: 100, enabled: false })] });
    await writer.wait({ action: 'error' });
    await rt.put({ channels: [open('pause', { history: 100 })] });
    const again = await rt.raw();
    const result = await again.joined('pause', { resume: { offset, epoch: answer.options.epoch } });
    assert.deepEqual(result.answer.payload, { resumed: true });
    assert.deepEqual((await again.history('pause')).history.map((f) => f.payload), ['seen']);
  });

  test('false for an offset from the future and on a channel without history', async () => {
    const name = room();
    const client = await s.rt.raw();
    const future = await client.joined(name, { resume: { offset: '99999999999' } });
    assert.deepEqual(future.answer.payload, { resumed: false });
    const live = await client.joined(room('live'), { resume: { offset: '1' } });
    assert.deepEqual(live.answer.payload, { resumed: false });
  });

  test('messages for authenticated clients are not caught up by anonymous ones, and that is no hole', async () => {
    const name = room();
    const member = await s.rt.raw({ user: { row_id: 1 } });
    await member.joined(name);
    const { offset } = await member.published(name, 'seen');
    await member.published(name, 'for members', { authenticated: true });
    await member.published(name, 'for all');
    const guest = await s.rt.raw();
    const result = await guest.joined(name, { resume: { offset } });
    assert.deepEqual(result.answer.payload, { resumed: true });
    await member.published(name, 'live');
    await guest.wait({ payload: 'live' });
    assert.deepEqual(after(guest, result, name).map((f) => f.payload), ['for all', 'live']);
  });

  test('the missed frames name the own channel, and the sender as it was', async () => {
    const name = room();
    const writer = await s.rt.raw({ user: { row_id: 9, extras: { n: 'W' } } });
    const { answer } = await writer.joined(name);
    await writer.published(name, 'x');
    await writer.close();
    const again = await s.rt.raw();
    await again.joined(name, { resume: { offset: answer.options.offset } });
    const frame = await again.wait({ action: 'message' });
    assert.equal(frame.options.channel, name);
    assert.deepEqual(frame.client, answer.client);
  });

  test('a resume that is none is answered, by an error or resumed false', async () => {
    const name = room();
    const client = await s.rt.raw();
    for (const resume of ['x', 5, [], {}, { offset: {} }, { offset: 'abc' }, { offset: -1 }, { offset: '1', epoch: 5 }, true]) {
      const mark = client.mark;
      client.send({ action: 'join', options: { channel: name }, payload: { history: false, presence: false, resume } });
      const answer = await client.wait((f) => f.action === 'error' || f.action === 'join', { from: mark });
      if (answer.action === 'error') assertError(answer, 'invalid_message', undefined, name);
      else assert.notEqual(answer.payload?.resumed, true, JSON.stringify(resume));
    }
    assert.equal(client.closed, undefined);
  });

  test('null asks for nothing', async () => {
    const client = await s.rt.raw();
    assert.equal((await client.joined(room(), { resume: null })).answer.payload, null);
  });
});

describe('pattern join', () => {
  test('gets the frames of every channel below, at any depth, with channel and source', async () => {
    const watcher = await s.rt.raw();
    await watcher.joined('any/*');
    const sender = await s.rt.raw();
    for (const [i, name] of ['any/a', 'any/a/b', 'any/Ä ö', 'any/x.y'].entries()) {
      await sender.joined(name);
      sender.message(name, i);
      const frame = await watcher.wait({ action: 'message', payload: i });
      assert.deepEqual([frame.options.channel, frame.options.source], ['any/*', name]);
      assert.match(frame.options.offset, /^\d+$/);
      assert.equal(frame.client.socketId, sender.socketId);
      const own = await sender.wait({ action: 'message', payload: i });
      assert.deepEqual([own.options.channel, own.options.source], [name, undefined]);
    }
    await s.rt.event('any/a', 'an event');
    const event = await watcher.wait({ action: 'event' });
    assert.deepEqual([event.options.channel, event.options.source, event.payload.data], ['any/*', 'any/a', 'an event']);
  });

  test('a stock client: the SDK opens any/* like any channel', async () => {
    const user = s.rt.sdk();
    const channel = await user.open('any/*', { presence: true });
    const sender = await s.rt.raw();
    await sender.joined('any/sdk');
    sender.message('any/sdk', 'through the pattern');
    const frame = await channel.wait({ action: 'message', payload: 'through the pattern' });
    assert.equal(frame.options.source, 'any/sdk');
  });

  test('covers only channels whose own rule is the pattern\'s', async () => {
    const watcher = await s.rt.raw();
    await watcher.joined('any/*');
    const sender = await s.rt.raw();
    for (const name of ['any/own', 'any/sub/x', 'any/fence']) {
      await sender.joined(name);
      await sender.published(name, name);
    }
    await watcher.wait({ payload: 'any/fence' });
    assert.deepEqual(watcher.frames.filter({ action: 'message' }).map((f) => f.payload), ['any/fence']);
  });

  test('who may: nobody, authenticated, anyone', async () => {
    const [guest, member] = [await s.rt.raw(), await s.rt.raw({ user: { row_id: 1 } })];
    assert.equal((await guest.join('nobody/*')).error.code, 'pattern_join_denied');
    assert.equal((await member.join('nobody/*')).error.code, 'pattern_join_denied');
    assert.equal((await guest.join('auth/*')).error.code, 'pattern_join_denied');
    assert.equal((await member.join('auth/*')).error, undefined);
    assert.equal((await guest.join('any/*')).error, undefined);
  });

  test('a pattern without a rule, or that is not the rule\'s, is not found', async () => {
    const client = await s.rt.raw({ user: { row_id: 1 } });
    for (const name of ['nothing/*', 'any/own/*']) {
      const { error } = await client.join(name);
      assert.ok(['channel_not_found', 'pattern_join_denied'].includes(error?.code), `${name}: ${JSON.stringify(error)}`);
    }
  });

  test('sending to a pattern is an error', async () => {
    const client = await s.rt.raw();
    await client.joined('any/*');
    client.message('any/*', 'x');
    assertError(await client.wait({ action: 'error' }), 'pattern_send', undefined, 'any/*');
    client.message('any/member-of-pattern-only', 'x');
    await client.wait({ action: 'error', payload: { code: 'not_joined' } });
  });

  test('private messages and targeted events do not reach it; messages for authenticated clients only those', async () => {
    const guest = await s.rt.raw();
    const member = await s.rt.raw({ user: { row_id: 2 } });
    await guest.joined('any/*');
    await member.joined('any/*');
    const name = room('any');
    const [a, b] = [await s.rt.raw({ user: { row_id: 1 } }), await s.rt.raw({ user: { row_id: 2 } })];
    await a.joined(name);
    await b.joined(name);
    a.message(name, 'psst', { socketId: b.socketId });
    await b.wait({ payload: 'psst' });
    await s.rt.event(name, 'aimed', { dbo_id: 17, row_id: 2 });
    await b.wait({ payload: { data: 'aimed' } });
    a.message(name, 'for members', { authenticated: true });
    await member.wait({ payload: 'for members' });
    await a.published(name, 'fence');
    for (const side of [guest, member]) await side.wait({ payload: 'fence' });
    const texts = (c) => c.since(0).filter((f) => ['message', 'event'].includes(f.action)).map((f) => f.payload.data ?? f.payload);
    assert.deepEqual(texts(guest), ['fence']);
    assert.deepEqual(texts(member), ['for members', 'fence']);
  });

  test('a socket that joined both gets one frame for each name', async () => {
    const name = room('any');
    const both = await s.rt.raw();
    await both.joined('any/*');
    await both.joined(name);
    await both.published(name, 'x');
    await both.published(name, 'fence');
    await both.wait({ payload: 'fence', options: { channel: name } });
    await both.wait({ payload: 'fence', options: { channel: 'any/*' } });
    assert.deepEqual(both.frames.filter({ action: 'message', payload: 'x' }).map((f) => f.options.channel).sort(), ['any/*', name].sort());
    both.leave('any/*');
    await both.settled();
    const mark = both.mark;
    await both.published(name, 'y');
    await both.wait({ payload: 'y' }, { from: mark });
    await both.settled();
    assert.equal(both.since(mark, { action: 'message' }).length, 1);
  });

  test('history: entries of all channels below, carrying their source', async () => {
    const rt = await s.server.realtime([nested('p', { pattern_join: 'anyone', history: 25 })]);
    const sender = await rt.raw();
    for (const [i, name] of ['p/a', 'p/b', 'p/a'].entries()) {
      await sender.joined(name);
      await sender.published(name, i);
    }
    const watcher = await rt.raw();
    const { history } = await watcher.joined('p/*', { history: true });
    assert.deepEqual(history.map((f) => [f.payload, f.options.source]).sort((x, y) => x[0] - y[0]), [[0, 'p/a'], [1, 'p/b'], [2, 'p/a']]);
    for (const f of history) assert.equal(f.options.channel, 'p/*');
  });

  test('presence: entries of all channels below, carrying their source; updates too', async () => {
    const rt = await s.server.realtime([nested('p', { pattern_join: 'anyone' })]);
    const [a, b] = [await rt.raw(), await rt.raw()];
    await a.joined('p/a');
    const watcher = await rt.raw();
    const { presence } = await watcher.joined('p/*', { presence: true });
    assert.deepEqual(presence.filter((c) => c.socketId === a.socketId).map((c) => c.source), ['p/a']);
    await b.joined('p/b/c');
    const update = await watcher.wait({ action: 'presence_update', payload: { action: 'join', presence: { socketId: b.socketId } } });
    assert.equal(update.options.channel, 'p/*');
    assert.equal(update.options.source ?? update.payload.presence.source, 'p/b/c');
    b.leave('p/b/c');
    await watcher.wait({ action: 'presence_update', payload: { action: 'leave', presence: { socketId: b.socketId } } });
  });

  test('any other * is an ordinary character', async () => {
    const client = await s.rt.raw();
    for (const name of ['live/*/x', 'live/a*', 'live/**', 'live/>', 'live/*.x']) await client.joined(name);
    client.message('live/*/x', 'only there');
    await client.wait({ payload: 'only there' });
    client.message('live/>', 'fence').message('live/**', 'fence');
    await client.wait({ payload: 'fence', options: { channel: 'live/>' } });
    assert.deepEqual(client.frames.filter({ payload: 'only there' }).map((f) => f.options.channel), ['live/*/x']);
  });
});
