'use strict';
// xano-realtime.md 11.3 "Presence" and section 5.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { serve, tick } = require('../lib/suite');
const { VERSIONS } = require('../lib/sdk');
const { open, nested } = require('../lib/rules');
const { until } = require('../lib/wait');

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    nested('room'),
    open('hidden', { presence: false }),
    open('members', { anonymous_clients: false }),
  ]),
}));

let rooms = 0;
const room = () => `room/${++rooms}`;
const ids = (list) => list.map((c) => c.socketId).sort();

describe('presence_full', () => {
  for (const version of VERSIONS) {
    test(`SDK ${version}: once at join, with everybody and oneself, an array even when alone; not sent again`, async () => {
      const name = room();
      const first = await s.rt.sdk({ version }).open(name, { presence: true });
      const alone = await first.wait({ action: 'presence_full' });
      assert.ok(Array.isArray(alone.payload.presence));
      assert.equal(alone.payload.presence.length, 1);
      const second = await s.rt.sdk({ version, user: { row_id: 1, extras: { name: 'B' } } }).open(name, { presence: true });
      const both = await second.wait({ action: 'presence_full' });
      assert.equal(both.payload.presence.length, 2);
      await first.wait({ action: 'presence_update', payload: { action: 'join' } });
      assert.deepEqual(ids(first.presence()), ids(second.presence()));
      second.destroy();
      await first.wait({ action: 'presence_update', payload: { action: 'leave' } });
      assert.equal(first.presence().length, 1);
      assert.equal(first.frames.filter({ action: 'presence_full' }).length, 1);
      assert.equal(second.frames.filter({ action: 'presence_update' }).length, 0, 'nothing about oneself');
    });

    test(`SDK ${version}: only with the flag, and only with the setting`, async () => {
      const name = room();
      const user = s.rt.sdk({ version });
      const [without, hidden] = user.prepare([name, { presence: false }], ['hidden', { presence: true }]);
      without.listen();
      hidden.listen();
      await hidden.wait({ action: 'join' });
      const other = await s.rt.raw();
      await other.joined(name);
      await other.joined('hidden');
      other.message(name, 'fence').message('hidden', 'fence');
      await without.wait({ action: 'message' });
      await hidden.wait({ action: 'message' });
      for (const channel of [without, hidden]) {
        assert.equal(channel.frames.filter((f) => f.action.startsWith('presence')).length, 0);
        assert.deepEqual(channel.presence(), []);
      }
    });
  }

  test('lists members who did not ask for presence (12.13)', async () => {
    const name = room();
    const quiet = await s.rt.raw();
    await quiet.joined(name);
    const client = await s.rt.raw();
    const { presence } = await client.joined(name, { presence: true });
    assert.deepEqual(ids(presence), ids([quiet, client]));
    assert.equal(quiet.frames.filter((f) => f.action.startsWith('presence')).length, 0);
  });

  test('one entry per socket, not per user; ids and extras of authenticated members are shown', async () => {
    const name = room();
    const user = { row_id: 8, extras: { name: 'Two tabs' } };
    const [a, b] = [await s.rt.raw({ user }), await s.rt.raw({ user })];
    await a.joined(name);
    const { presence } = await b.joined(name, { presence: true });
    assert.equal(presence.length, 2);
    for (const entry of presence) {
      assert.deepEqual(Object.keys(entry).sort(), ['extras', 'permissions', 'socketId'], 'other keys would shadow the SDK\'s methods');
      assert.deepEqual([entry.extras, entry.permissions], [{ name: 'Two tabs' }, { dbo_id: 17, row_id: 8 }]);
    }
  });
});

describe('presence_update', () => {
  test('join and leave frames have the shape of 4.5', async () => {
    const name = room();
    const watcher = await s.rt.raw();
    await watcher.joined(name, { presence: true });
    const client = await s.rt.raw({ user: { row_id: 9, extras: { a: 1 } } });
    const { answer } = await client.joined(name);
    const join = await watcher.wait({ action: 'presence_update', payload: { action: 'join' } });
    assert.deepEqual(join.payload, { action: 'join', presence: answer.client });
    assert.equal(join.options.channel, name);
    client.leave(name);
    const leave = await watcher.wait({ action: 'presence_update', payload: { action: 'leave' } });
    assert.equal(leave.payload.presence.socketId, client.socketId);
    assert.equal(leave.options.channel, name);
  });

  test('a killed TCP connection is told at once where the peer\'s kernel says so', async () => {
    const name = room();
    const watcher = await s.rt.raw();
    await watcher.joined(name, { presence: true });
    const client = await s.rt.raw();
    await client.joined(name);
    client.terminate();
    await watcher.wait({ action: 'presence_update', payload: { action: 'leave', presence: { socketId: client.socketId } } });
  });

  test('a refused join is announced to nobody', async () => {
    const watcher = await s.rt.raw({ user: { row_id: 1 } });
    await watcher.joined('members', { presence: true });
    const guest = await s.rt.raw();
    assert.equal((await guest.join('members', { presence: true })).error.code, 'anonymous_not_allowed');
    watcher.message('members', 'fence');
    await watcher.wait({ action: 'message' });
    assert.equal(watcher.frames.filter({ action: 'presence_update' }).length, 0);
  });

  test('a hundred come and go between two others\' views', async () => {
    const name = room();
    const watcher = await s.rt.raw();
    await watcher.joined(name, { presence: true });
    const crowd = await Promise.all(tick(100).map(() => s.rt.raw()));
    await Promise.all(crowd.map((c) => c.joined(name)));
    await watcher.frames.waitMany({ action: 'presence_update', payload: { action: 'join' } }, { count: 100 });
    for (const c of crowd) c.socket.close(1000);
    const left = await watcher.frames.waitMany({ action: 'presence_update', payload: { action: 'leave' } }, { count: 100 });
    assert.deepEqual(ids(left.map((f) => f.payload.presence)), ids(crowd));
    const later = await s.rt.raw();
    assert.equal((await later.joined(name, { presence: true })).presence.length, 2);
  });
});

/** A client's view of a channel as the SDK keeps it: full replaces, join appends, leave removes. */
function view(frames, channel) {
  let list = [];
  for (const f of frames) {
    if (f.options?.channel !== channel) continue;
    if (f.action === 'presence_full') list = [...f.payload.presence];
    if (f.action === 'presence_update' && f.payload.action === 'join') list.push(f.payload.presence);
    if (f.action === 'presence_update' && f.payload.action === 'leave') list = list.filter((c) => c.socketId !== f.payload.presence.socketId);
  }
  return list;
}

/** A repeatable source of chance. */
function chance(seed) {
  let x = seed;
  return (n) => {
    x = (Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    const y = Math.imul(x ^ (x >>> 13), 0x297a2d39);
    return ((y ^ (y >>> 16)) >>> 0) % n;
  };
}

describe('convergence', () => {
  for (const version of VERSIONS) {
    test(`SDK ${version}: getPresence() on all members is the same set after 20 random joins, leaves and kills`, async () => {
      const name = room();
      const random = chance(20);
      const people = [];
      const arrive = async () => {
        const user = s.rt.sdk({ version });
        people.push({ user, channel: await user.open(name, { presence: true }) });
      };
      for (let i = 0; i < 4; i++) await arrive();
      for (let i = 0; i < 20; i++) {
        const what = people.length < 3 ? 0 : random(3);
        if (what === 0) await arrive();
        else {
          const [{ user, channel }] = people.splice(random(people.length), 1);
          if (what === 1) channel.destroy();
          else {
            user.done = true; // its retry must not bring it back
            user.terminate();
          }
        }
      }
      const mine = people.map(({ channel }) => channel.frames.filter({ action: 'join' }).at(-1).client.socketId).sort();
      await until('all views to be the same', () => people.every(({ channel }) => JSON.stringify(ids(channel.presence())) === JSON.stringify(mine)))
        .catch((err) => assert.deepEqual(people.map(({ channel }) => ids(channel.presence())), people.map(() => mine), err.message));
    });
  }

  test('400 random joins, leaves, closes and kills on many sockets at once: every view ends right, without duplicates', async () => {
    const names = [room(), room()];
    const random = chance(4711);
    const inside = new Map(names.map((n) => [n, new Set()]));
    let sockets = await Promise.all(tick(24).map(() => s.rt.raw()));
    const cards = new Map();
    const waiting = [];
    for (let i = 0; i < 400; i++) {
      const client = sockets[random(sockets.length)];
      const name = names[random(2)];
      const what = random(10);
      if (what < 5) {
        client.send({ action: 'join', options: { channel: name }, payload: { presence: true, history: false } });
        inside.get(name).add(client);
      } else if (what < 8) {
        client.leave(name);
        inside.get(name).delete(client);
      } else {
        sockets = sockets.filter((c) => c !== client);
        for (const set of inside.values()) set.delete(client);
        if (what === 8) client.terminate();
        else client.socket.close(1000);
        waiting.push(s.rt.raw().then((c) => sockets.push(c)));
      }
      if (i % 10 === 9) await Promise.all(waiting.splice(0));
    }
    await Promise.all(waiting);
    for (const client of sockets) {
      await client.settled();
      cards.set(client, client.frames.filter({ action: 'join' })[0]?.client.socketId);
    }
    for (const name of names) {
      const real = [...inside.get(name)].map((c) => cards.get(c)).sort();
      assert.ok(real.length > 2, 'the test keeps some people inside');
      for (const client of inside.get(name)) {
        await until(`${client.name}'s view of ${name}`, () => JSON.stringify(ids(view(client.frames.items, name))) === JSON.stringify(real))
          .catch((err) => assert.deepEqual(ids(view(client.frames.items, name)), real, err.message));
      }
      const late = await s.rt.raw();
      const { presence } = await late.joined(name, { presence: true });
      assert.deepEqual(ids(presence), [...real, late.socketId].sort());
      await late.close();
    }
  });
});

describe('presence data (extension)', () => {
  test('presence_update changes the own entry; others get action "update", later joiners see it', async () => {
    const name = room();
    const watcher = await s.rt.raw();
    await watcher.joined(name, { presence: true });
    const client = await s.rt.raw({ user: { row_id: 10, extras: { name: 'C' } } });
    const { answer } = await client.joined(name, { presence: true });
    client.send({ action: 'presence_update', options: { channel: name }, payload: { data: { typing: true, at: [1, 2] } } });
    const update = await watcher.wait({ action: 'presence_update', payload: { action: 'update' } });
    assert.deepEqual(update.payload.presence, { ...answer.client, data: { typing: true, at: [1, 2] } });
    const late = await s.rt.raw();
    const { presence } = await late.joined(name, { presence: true });
    assert.deepEqual(presence.find((c) => c.socketId === client.socketId), { ...answer.client, data: { typing: true, at: [1, 2] } });
    client.send({ action: 'presence_update', options: { channel: name }, payload: { data: { typing: false } } });
    const second = await late.wait({ action: 'presence_update', payload: { action: 'update' } });
    assert.deepEqual(second.payload.presence.data, { typing: false });
  });

  test('without membership, without presence, over 4 KiB, or of a wrong type: an error', async () => {
    const client = await s.rt.raw();
    const attempt = async (channel, payload) => {
      const mark = client.mark;
      client.send({ action: 'presence_update', options: { channel }, payload });
      return (await client.wait({ action: 'error', options: { channel } }, { from: mark })).payload.code;
    };
    const name = room();
    assert.equal(await attempt(name, { data: {} }), 'not_joined');
    await client.joined(name);
    await client.joined('hidden');
    assert.equal(await attempt('hidden', { data: {} }), 'presence_disabled');
    assert.match(await attempt(name, { data: { x: 'y'.repeat(4096) } }), /^(too_large|invalid_message)$/);
    for (const payload of [null, {}, { data: 'text' }, { data: [1] }, { data: 5 }, [], 'x']) {
      assert.equal(await attempt(name, payload), 'invalid_message', JSON.stringify(payload));
    }
    const watcher = await s.rt.raw();
    const { presence } = await watcher.joined(name, { presence: true });
    assert.equal(presence.find((c) => c.socketId === client.socketId).data, undefined);
  });
});
