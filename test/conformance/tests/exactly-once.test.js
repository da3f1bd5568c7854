'use strict';
// xano-realtime.md 11.3: "A joiner under constant traffic sees every message exactly once across history + live",
// 1000 joins at random moments; half of them resume from where the joiner was when it left.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { serve, tick } = require('../lib/suite');
const { open, nested } = require('../lib/rules');

const s = serve({});

const JOINS = 1000;
const JOINERS = 25;
const SENDERS = 8;

/** Fails unless, for each sender, the numbers seen go up one by one. */
function assertGapless(frames, what) {
  const next = new Map();
  let offset = -1n;
  for (const f of frames) {
    const [from, n] = f.payload.data ?? f.payload;
    const expected = next.get(from);
    if (expected !== undefined && n !== expected) {
      assert.fail(`${what}: sender ${from}: expected ${expected}, got ${n} (${n < expected ? 'twice or out of order' : 'a hole'}) in [${frames.map((g) => g.payload.data ?? g.payload).join(' | ')}]`);
    }
    next.set(from, n + 1);
    assert.ok(BigInt(f.options.offset) > offset, `${what}: offsets grow`);
    offset = BigInt(f.options.offset);
  }
}

test(`${JOINS} joins at random moments under constant traffic: exactly once over history and live`, { timeout: 280_000 }, async (t) => {
  const rt = await s.server.realtime([nested('busy', { history: 100 })]);
  const name = 'busy/room';
  let going = true;
  let sent = 0;

  const traffic = tick(SENDERS).map(async (k) => {
    const client = await rt.raw();
    await client.joined(name);
    for (let n = 0; going; n++) {
      await client.published(name, [`s${k}`, n]);
      sent++;
      await new Promise((resolve) => setTimeout(resolve, 2 + Math.random() * 16));
    }
  });
  traffic.push((async () => {
    for (let n = 0; going; n++) {
      await rt.event(name, ['api', n], { store: true });
      sent++;
      await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 40));
    }
  })());

  const kept = (f) => f.options?.channel === name && (f.action === 'message' || f.action === 'event');
  const tally = { history: 0, resumed: 0, notResumed: 0, live: 0, caughtUp: 0 };

  const joiner = async (share) => {
    const client = await rt.raw();
    let last; // frame last seen, with what each sender had said by then
    for (let i = 0; i < share; i++) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 120));
      const resume = last && i % 2 === 1;
      const from = client.mark;
      client.send({ action: 'join', options: { channel: name }, payload: resume ? { history: false, presence: false, resume: { offset: last.options.offset } } : { history: true, presence: false } });
      const answer = await client.wait({ action: 'join', options: { channel: name } }, { from });
      let before = [];
      if (resume && answer.payload?.resumed) {
        tally.resumed++;
        before = [last];
      } else {
        if (resume) tally.notResumed++;
        const { payload } = await client.wait({ action: 'history', options: { channel: name } }, { from });
        before = payload.history;
        tally.history++;
      }
      await client.frames.waitMany(kept, { from, count: 2 + Math.floor(Math.random() * 4) });
      client.leave(name);
      await client.settled();
      const live = client.since(from).filter(kept);
      const order = client.since(from).filter((f) => f.options?.channel === name).map((f) => f.action);
      assert.equal(order[0], 'join', 'nothing of the channel comes before the answer');
      if (!resume) assert.equal(order[1], 'history', `history comes before live frames: ${order}`);
      assertGapless([...before, ...live], `${client.name}, join ${i} (${resume ? 'resume' : 'history'})`);
      tally.live += live.length;
      last = live.at(-1) ?? last;
      client.frames.items.length = 0; // what was checked need not be kept
      client.raw.length = 0;
    }
    await client.close();
  };
  await Promise.all(tick(JOINERS).map(() => joiner(JOINS / JOINERS)));
  going = false;
  await Promise.all(traffic);
  t.diagnostic(`${sent} messages sent; ${JSON.stringify(tally)}`);
  assert.equal(tally.history + tally.resumed, JOINS);
  assert.ok(tally.resumed > JOINS / 4, 'most resumes succeed');
  assert.ok(sent > 300, `there was traffic: ${sent}`);
});

test('200 joins of a pattern over five busy channels: exactly once for each channel, over history and live', { timeout: 280_000 }, async (t) => {
  const rt = await s.server.realtime([nested('busy', { history: 250, pattern_join: 'anyone' })]);
  const names = tick(5).map((i) => `busy/${i}`);
  let going = true;
  let sent = 0;
  const traffic = names.map(async (name) => {
    const client = await rt.raw();
    await client.joined(name);
    for (let n = 0; going; n++) {
      await client.published(name, [name, n]);
      sent++;
      await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 30));
    }
  });
  let live = 0;
  const joiner = async () => {
    const client = await rt.raw();
    for (const i of tick(20)) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 100));
      const from = client.mark;
      const { history } = await client.joined('busy/*', { history: true });
      await client.frames.waitMany({ action: 'message' }, { from, count: 5 + Math.floor(Math.random() * 10) });
      client.leave('busy/*');
      await client.settled();
      const after = client.since(from, { action: 'message' });
      live += after.length;
      for (const f of [...history, ...after]) assert.equal(f.options.channel, 'busy/*');
      for (const name of names) {
        assertGapless([...history, ...after].filter((f) => f.options.source === name), `${client.name}, join ${i}, ${name}`);
      }
      client.frames.items.length = 0;
      client.raw.length = 0;
    }
  };
  await Promise.all(tick(10).map(joiner));
  going = false;
  await Promise.all(traffic);
  t.diagnostic(`${sent} messages sent, ${live} received live`);
  assert.ok(live > 500);
});

test('a member that stays sees every message of everybody once, in one order', { timeout: 280_000 }, async () => {
  const rt = await s.server.realtime([open('busy', { history: 1000 })]);
  const clients = await Promise.all(tick(6).map(() => rt.raw()));
  await Promise.all(clients.map((c) => c.joined('busy')));
  await Promise.all(clients.map(async (c, k) => {
    for (const n of tick(80)) {
      if (n % 10 === 0) await c.published('busy', [k, n]);
      else c.message('busy', [k, n]);
    }
  }));
  const views = await Promise.all(clients.map((c) => c.frames.waitMany({ action: 'message' }, { count: 480, timeout: 120_000 })));
  const first = views[0].map((f) => `${f.options.offset} ${f.payload}`);
  for (const view of views) assert.deepEqual(view.map((f) => `${f.options.offset} ${f.payload}`), first);
  assertGapless(views[0], 'order');
  const { history } = await clients[0].history('busy');
  assert.deepEqual(history.map((f) => `${f.options.offset} ${f.payload}`), first);
});
