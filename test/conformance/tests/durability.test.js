'use strict';
// design.md 6: acknowledged means stored. The process is killed with SIGKILL amid traffic, several times over.

const { test, after } = require('node:test');
const assert = require('node:assert/strict');
const { Server } = require('../lib/server');
const { open, nested } = require('../lib/rules');
const { closeAll, tick } = require('../lib/suite');
const { until } = require('../lib/wait');

const servers = [];
after(async () => {
  await closeAll(servers);
});

test('history survives kill -9: all that was acknowledged is there, once, in the order of its offsets', { timeout: 280_000 }, async (t) => {
  const server = await Server.start();
  servers.push(server);
  const rt = await server.realtime([nested('kept', { history: 1000 })]);
  const rooms = tick(6).map((i) => `kept/${i}`);
  const acked = new Map(rooms.map((r) => [r, []])); // [{value, id, offset}]
  const sent = new Map(rooms.map((r) => [r, 0]));
  let epoch;

  for (const round of tick(4)) {
    const writers = await Promise.all(tick(12).map(() => rt.raw()));
    await Promise.all(writers.map((w, i) => w.joined(rooms[i % rooms.length])));
    const total = () => [...acked.values()].reduce((n, list) => n + list.length, 0);
    const start = total();
    const writing = Promise.all(writers.map(async (w, i) => {
      const room = rooms[i % rooms.length];
      while (!w.closed && sent.get(room) < 900) {
        const value = sent.get(room);
        sent.set(room, value + 1);
        const answer = await Promise.race([w.publish(room, value), w.ended]);
        if (answer.action === 'ack') acked.get(room).push({ value, ...answer.payload });
      }
    }));
    await until('acknowledged traffic', () => total() > start + 100 + 70 * round, { timeout: 60_000, every: 1 });
    await server.kill();
    await writing;
    await server.restart();
    const reader = await rt.raw();
    for (const room of rooms) {
      const { answer, history } = await reader.joined(room, { history: true });
      epoch ??= answer.options.epoch;
      const kept = history.map((f) => f.payload);
      const missing = acked.get(room).filter(({ value }) => !kept.includes(value));
      assert.deepEqual(missing, [], `round ${round}, ${room}: acknowledged but gone`);
      assert.equal(new Set(kept).size, kept.length, 'nothing twice');
      for (const { value, id, offset } of acked.get(room)) {
        const frame = history.find((f) => f.payload === value);
        assert.deepEqual([frame.options.id, frame.options.offset], [id, offset]);
      }
      const offsets = history.map((f) => BigInt(f.options.offset));
      for (let i = 1; i < offsets.length; i++) assert.ok(offsets[i] > offsets[i - 1]);
    }
    await reader.close();
  }
  t.diagnostic(`${[...acked.values()].reduce((n, l) => n + l.length, 0)} acknowledged over four kills`);

  // A client from before the last kill resumes, whole.
  const room = rooms[0];
  const [{ offset }] = acked.get(room);
  const client = await rt.raw();
  const result = await client.joined(room, { resume: { offset, epoch } });
  assert.deepEqual(result.answer.payload, { resumed: true });
  const reader = await rt.raw();
  const { history } = await reader.joined(room, { history: true });
  const later = history.filter((f) => BigInt(f.options.offset) > BigInt(offset));
  const got = await client.frames.waitMany({ action: 'message' }, { count: later.length, from: result.from });
  assert.deepEqual(got, later);
});

test('a follower that resumes after each kill or restart misses nothing and gets nothing twice', { timeout: 280_000 }, async (t) => {
  const server = await Server.start({ env: { FANFARE_DRAIN: '300ms' } });
  servers.push(server);
  const rt = await server.realtime([open('room', { history: 1000 })]);
  const acked = [];
  let value = 0;
  let going = true;
  const connect = () => until('a socket', () => rt.raw().catch(() => undefined), { timeout: 60_000, every: 30 });

  let begin;
  const begun = new Promise((resolve) => { begin = resolve; });
  const writing = Promise.all(tick(3).map(async () => {
    await begun; // the follower is there from the beginning
    while (going) {
      const client = await connect();
      const joined = await Promise.race([client.join('room').catch(() => undefined), client.ended]);
      while (going && joined?.answer && !client.closed) {
        const mine = value++;
        const answer = await Promise.race([client.publish('room', mine).catch(() => undefined), client.ended]);
        if (answer?.action === 'ack') acked.push({ value: mine, ...answer.payload });
        await new Promise((resolve) => setTimeout(resolve, 15));
      }
      await client.close();
    }
  }));

  const seen = [];
  let resumes = 0;
  const following = (async () => {
    let position;
    while (going) {
      const client = await connect();
      const result = await Promise.race([client.join('room', { resume: position }).catch(() => undefined), client.ended]);
      if (!result?.answer) continue;
      begin();
      if (position) {
        assert.deepEqual(result.answer.payload, { resumed: true });
        resumes++;
      }
      position = { ...(position ?? { offset: result.answer.options.offset }), epoch: result.answer.options.epoch };
      await Promise.race([client.ended, until('the end', () => !going, { timeout: 280_000 })]);
      if (!client.closed) await client.settled();
      for (const f of client.since(result.from, { action: 'message' })) {
        seen.push(f);
        position.offset = f.options.offset;
      }
      await client.close();
    }
  })();

  for (const round of tick(5)) {
    const count = acked.length;
    await until('traffic', () => acked.length > count + 60, { timeout: 60_000 });
    if (round % 2) await server.stop();
    else await server.kill();
    await server.restart();
  }
  const count = acked.length;
  await until('traffic', () => acked.length > count + 20, { timeout: 60_000 });
  going = false;
  await Promise.all([writing, following]);

  const offsets = seen.map((f) => BigInt(f.options.offset));
  for (let i = 1; i < offsets.length; i++) assert.ok(offsets[i] > offsets[i - 1], 'in order, nothing twice');
  const ids = new Set(seen.map((f) => f.options.id));
  const first = offsets[0];
  const last = offsets.at(-1);
  const missed = acked.filter((a) => BigInt(a.offset) >= first && BigInt(a.offset) <= last && !ids.has(a.id));
  assert.deepEqual(missed, []);
  assert.ok(acked.filter((a) => BigInt(a.offset) < first).length < 20, 'it followed from the beginning');
  t.diagnostic(`${acked.length} acknowledged, ${seen.length} seen, ${resumes} resumes`);
  assert.ok(resumes >= 5);
});

test('settings survive kill -9, and presence has no ghosts afterwards', async () => {
  const server = await Server.start();
  servers.push(server);
  const rt = await server.realtime([open('room1', { history: 25 })]);
  const crowd = await Promise.all(tick(5).map(() => rt.raw()));
  await Promise.all(crowd.map((c) => c.joined('room1', { presence: true })));
  await crowd[0].published('room1', 'kept');
  await rt.put({ channels: [open('room1', { history: 25 }), open('room2')] });
  await server.kill();
  await server.restart();
  const client = await rt.raw();
  await client.joined('room2');
  const { history } = await client.joined('room1', { history: true });
  assert.deepEqual(history.map((f) => f.payload), ['kept']);
  await until('the people of before to be gone', async () => {
    const probe = await rt.raw();
    const { presence } = await probe.joined('room1', { presence: true });
    await probe.close();
    return presence.length === 2;
  }, { timeout: 30_000, every: 250 }); // within 10 s on a machine that has nothing else to do
  const { json } = await server.admin('GET', rt.path);
  assert.deepEqual(json.channels.map((c) => c.pattern), ['room1', 'room2']);
});

test('a second server on the same data directory is refused, the first goes on', async () => {
  const server = await Server.start();
  servers.push(server);
  const rt = await server.realtime([open('room1')]);
  const client = await rt.raw();
  await client.joined('room1');
  await assert.rejects(Server.start({ dataDir: server.dataDir }).then(async (second) => { await second.kill(); }), /did not get ready/);
  client.message('room1', 'still here');
  await client.wait({ payload: 'still here' });
});

test('the first start: workspace 1 exists, disabled, with a generated hash and no channels; the next start keeps it', async () => {
  const server = await Server.start();
  servers.push(server);
  const { json } = await server.admin('GET', '/workspace/1/realtime');
  assert.equal(json.enabled, false);
  assert.match(json.hash, /^[A-Za-z0-9_-]{20,}$/);
  assert.deepEqual(json.channels, []);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  await server.restart();
  assert.equal((await server.admin('GET', '/workspace/1/realtime')).json.hash, json.hash);
});
