'use strict';
// The whole table of xano-realtime.md 3.2 for every combination of the flags, and the presets of 3.3.
//
// Each cell is tried with real sockets: two anonymous and two authenticated ones on every channel that admits
// them. After each attempt a server-side event, which everybody gets, marks the point where a delivery would
// have come before.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { serve } = require('../lib/suite');
const { VERSIONS } = require('../lib/sdk');
const { rule } = require('../lib/rules');

const FLAGS = { AC: 'anonymous_clients', PM: 'client_public_messaging', PMa: 'client_public_messaging_authenticated_only', AM: 'client_authenticated_messaging', VM: 'client_private_messaging', VMa: 'client_private_messaging_authenticated_only' };
const names = Object.keys(FLAGS);

/** All 64 combinations: {label, flags, ...booleans by short name}. */
const combinations = Array.from({ length: 2 ** names.length }, (_, bits) => {
  const on = Object.fromEntries(names.map((name, i) => [name, Boolean(bits & (1 << i))]));
  const label = names.filter((n) => on[n]).join('-') || 'nothing';
  return { ...on, label, flags: Object.fromEntries(names.map((n) => [FLAGS[n], on[n]])) };
});

const TEXTS = {
  public_messaging_disabled: 'Public messaging is disabled on this channel.',
  authenticated_only: 'Only authenticated clients can send messages on this channel.',
  private_messaging_disabled: 'Private messaging is disabled on this channel.',
  recipient_not_found: 'Recipient is not in this channel.',
};

/**
 * What 3.2 says about one attempt: {to: who gets it, authenticated} or {refused: codes that would be right}.
 * sender and target are 'anonymous' or 'authenticated'; all members are a1, a2 (anonymous) and u1, u2.
 */
function expected(r, sender, audience, target) {
  const everyone = r.AC ? ['a1', 'a2', 'u1', 'u2'] : ['u1', 'u2'];
  const known = sender === 'authenticated';
  switch (audience) {
    case 'public':
      if (r.PM) return r.PMa && !known ? { refused: ['authenticated_only'] } : { to: everyone, authenticated: false };
      if (r.AM && known) return { to: ['u1', 'u2'], authenticated: true };
      return { refused: r.AM ? ['public_messaging_disabled', 'authenticated_only'] : ['public_messaging_disabled'] };
    case 'authenticated':
      if (!known) return { refused: r.AM ? ['authenticated_only'] : undefined };
      return r.AM ? { to: ['u1', 'u2'], authenticated: true } : { refused: undefined };
    case 'private':
      if (!r.VM) return { refused: ['private_messaging_disabled'] };
      if (r.VMa && !known) return { refused: ['authenticated_only'] };
      if (r.VMa && target[0] === 'a') return { refused: ['recipient_not_found', 'authenticated_only'] };
      return { to: [target], authenticated: false };
  }
}

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    ...combinations.map((r) => rule(`m-${r.label}`, r.flags)),
    rule('preset-public-chat', { anonymous_clients: true, client_public_messaging: true }),
    rule('preset-read-only-guests', { anonymous_clients: true, client_public_messaging: true, client_public_messaging_authenticated_only: true }),
    rule('preset-notifications', { anonymous_clients: true }),
    rule('preset-members', { client_authenticated_messaging: true }),
    rule('preset-members-private', { client_authenticated_messaging: true, client_private_messaging: true, client_private_messaging_authenticated_only: true }),
  ]),
}));

describe('every cell of 3.2', () => {
  for (const r of combinations) {
    test(r.label, async () => {
      const channel = `m-${r.label}`;
      const people = {
        a1: await s.rt.raw({ name: 'a1' }),
        a2: await s.rt.raw({ name: 'a2' }),
        u1: await s.rt.raw({ name: 'u1', user: { row_id: 1 } }),
        u2: await s.rt.raw({ name: 'u2', user: { row_id: 2 } }),
      };
      for (const [name, client] of Object.entries(people)) {
        const { error } = await client.join(channel);
        if (name[0] === 'a' && !r.AC) {
          assert.deepEqual([error?.code, error?.message], ['anonymous_not_allowed', 'Anonymous clients cannot join this channel.']);
        } else {
          assert.equal(error, undefined, `${name} may join`);
        }
      }
      const members = r.AC ? ['a1', 'a2', 'u1', 'u2'] : ['u1', 'u2'];
      const attempts = [];
      for (const from of members.filter((m) => m.endsWith('1'))) {
        attempts.push([from, 'public'], [from, 'authenticated']);
        for (const target of members.filter((m) => m.endsWith('2'))) attempts.push([from, 'private', target]);
      }
      for (const [n, [from, audience, target]] of attempts.entries()) {
        const what = `${from} ${audience} ${target ?? ''}`;
        const want = expected(r, from[0] === 'u' ? 'authenticated' : 'anonymous', audience, target);
        const marks = Object.fromEntries(members.map((m) => [m, people[m].mark]));
        const options = { public: {}, authenticated: { authenticated: true }, private: { socketId: people[target]?.socketId } }[audience];
        people[from].message(channel, what, options);
        await people[from].settled();
        await s.rt.event(channel, { fence: n });
        const got = [];
        for (const m of members) {
          await people[m].wait({ action: 'event', payload: { data: { fence: n } } }, { from: marks[m] });
          const frames = people[m].since(marks[m], { action: 'message' });
          if (frames.length) got.push(m);
          assert.ok(frames.length <= 1, `${what}: ${m} got it ${frames.length} times`);
          for (const frame of frames) {
            assert.equal(frame.payload, what);
            assert.equal(frame.options.authenticated, want.authenticated, `${what}: options.authenticated`);
            assert.equal(frame.options.socketId, audience === 'private' ? people[target].socketId : null, `${what}: options.socketId`);
            assert.equal(frame.client.socketId, people[from].socketId);
          }
        }
        const errors = people[from].since(marks[from], { action: 'error', options: { channel } });
        assert.deepEqual(got, want.to ?? [], `${what}: who got it`);
        assert.equal(errors.length, want.to ? 0 : 1, `${what}: ${JSON.stringify(errors)}`);
        if (errors.length && want.refused) {
          const [{ payload }] = errors;
          assert.ok(want.refused.includes(payload.code), `${what}: refused with ${payload.code}, expected ${want.refused}`);
          assert.equal(payload.message, TEXTS[payload.code]);
        }
      }
      if (!r.AC) {
        people.a1.message(channel, 'from outside');
        const error = await people.a1.wait({ action: 'error', options: { channel }, payload: { code: 'not_joined' } });
        assert.equal(error.payload.message, 'You must join this channel first.');
      }
    });
  }
});

describe('server events (3.2)', () => {
  test('without a target reach all members, whatever the messaging flags', async () => {
    for (const r of combinations.filter((c) => c.AC && !c.VM && !c.VMa)) {
      const [guest, member] = [await s.rt.raw(), await s.rt.raw({ user: { row_id: 1 } })];
      await guest.joined(`m-${r.label}`);
      await member.joined(`m-${r.label}`);
      await s.rt.event(`m-${r.label}`, 'all');
      await guest.wait({ action: 'event', payload: { data: 'all' } });
      await member.wait({ action: 'event', payload: { data: 'all' } });
      await guest.close();
      await member.close();
    }
  });
});

describe('presets (3.3)', () => {
  for (const version of VERSIONS) {
    const people = async (channel, which = ['guest', 'member']) => {
      const result = {};
      for (const who of which) result[who] = await s.rt.sdk({ version, user: who === 'guest' ? undefined : { row_id: who === 'member' ? 1 : 2 } }).open(channel, { presence: true });
      return result;
    };
    const heard = (channel) => channel.frames.filter({ action: 'message' }).map((f) => f.payload);

    test(`SDK ${version}: public anonymous chat: all read, all write`, async () => {
      const { guest, member } = await people('preset-public-chat');
      guest.message('from guest');
      await member.wait({ payload: 'from guest' });
      member.message('from member');
      for (const side of [guest, member]) await side.wait({ payload: 'from member' });
      assert.deepEqual([heard(guest), heard(member)], [['from guest', 'from member'], ['from guest', 'from member']]);
    });

    test(`SDK ${version}: anonymous read, authenticated write`, async () => {
      const { guest, member } = await people('preset-read-only-guests');
      guest.message('from guest');
      const error = await guest.errors.wait({ action: 'error' });
      assert.equal(error.payload.message, TEXTS.authenticated_only);
      member.message('from member');
      for (const side of [guest, member]) await side.wait({ payload: 'from member' });
      assert.deepEqual([heard(guest), heard(member)], [['from member'], ['from member']]);
    });

    test(`SDK ${version}: notifications: nobody sends, server events reach all`, async () => {
      const { guest, member } = await people('preset-notifications');
      for (const side of [guest, member]) {
        side.message('no');
        assert.equal((await side.errors.wait({ action: 'error' })).payload.message, TEXTS.public_messaging_disabled);
      }
      await s.rt.event('preset-notifications', { news: 1 });
      for (const side of [guest, member]) assert.deepEqual((await side.wait({ action: 'event' })).payload.data, { news: 1 });
      assert.deepEqual([heard(guest), heard(member)], [[], []]);
    });

    test(`SDK ${version}: authenticated chat: only authenticated join, write and read`, async () => {
      const [guest] = s.rt.sdk({ version }).prepare('preset-members');
      guest.listen();
      assert.equal((await guest.errors.wait({ action: 'error' })).payload.message, 'Anonymous clients cannot join this channel.');
      const { member, second } = await people('preset-members', ['member', 'second']);
      member.message('plain');
      const got = await second.wait({ payload: 'plain' });
      assert.equal(got.options.authenticated, true, 'a plain message is an authenticated one here');
      second.message('explicit', { authenticated: true });
      await member.wait({ payload: 'explicit' });
      assert.equal(guest.frames.filter({ action: 'message' }).length, 0);
    });

    test(`SDK ${version}: authenticated chat + private`, async () => {
      const { member, second } = await people('preset-members-private', ['member', 'second']);
      const third = await s.rt.sdk({ version, user: { row_id: 3 } }).open('preset-members-private');
      const id = (await second.wait({ action: 'join' })).client.socketId;
      member.message('psst', { socketId: id });
      await second.wait({ payload: 'psst' });
      member.message('all');
      for (const side of [third, second, member]) await side.wait({ payload: 'all' });
      assert.deepEqual([heard(third), heard(second), heard(member)], [['all'], ['psst', 'all'], ['all']]);
    });
  }
});
