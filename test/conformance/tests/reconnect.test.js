'use strict';
// xano-realtime.md 11.3 "Reconnect", 4.8, 12.30. Every test has a server of its own and they run side by side,
// for most of them wait for the SDK's clock.

const { test, describe, after } = require('node:test');
const assert = require('node:assert/strict');
const { Server, request, newHash } = require('../lib/server');
const { RawClient } = require('../lib/raw');
const { VERSIONS } = require('../lib/sdk');
const { open, nested } = require('../lib/rules');
const { until, span } = require('../lib/wait');
const { closeAll, tick } = require('../lib/suite');

const servers = [];
after(async () => {
  await closeAll(servers);
});

async function fresh(options, rules = [open('room1', { history: 25 }), open('room2')]) {
  const server = await Server.start(options);
  servers.push(server);
  return { server, rt: await server.realtime(rules) };
}

/** Milliseconds between the attempts of a user to connect. */
const pauses = (user) => user.attempts.slice(1).map((a, i) => Math.round(a.at - (user.attempts[i].closed?.at ?? user.attempts[i].at)));

const near = (actual, expected, slack = 900) =>
  assert.ok(actual > expected - 30 && actual < expected + slack, `about ${expected} ms, was ${actual}`);

describe('reconnecting', { concurrency: 4 }, () => {
  for (const version of VERSIONS) {
    test(`SDK ${version}: after a restart it is back at about 1 s, has joined all again, and messages flow`, async () => {
      const { server, rt } = await fresh({ env: { FANFARE_DRAIN: '300ms' } });
      const user = rt.sdk({ version });
      const [one, two] = user.prepare(['room1', { presence: true, history: true }], ['room2', {}]);
      one.listen();
      two.listen();
      await two.wait({ action: 'join' });
      one.message('before');
      await one.wait({ action: 'message' });
      await server.stop();
      const marks = [one.mark, two.mark];
      await server.restart();
      await two.wait({ action: 'join' }, { from: marks[1], timeout: 40_000 }); // a slow start costs the SDK's next, longer pause
      const history = await one.wait({ action: 'history' }, { from: marks[0] });
      assert.deepEqual(history.payload.history.map((f) => f.payload), ['before']);
      assert.equal(one.presence().length, 1, 'nobody of before is left over');
      assert.equal(user.attempts[0].closed.code, 1012);
      near(user.attempts[1].at - user.attempts[0].closed.at, 1000);
      two.message('after');
      await two.wait({ action: 'message', payload: 'after' });
      const statuses = one.statuses();
      assert.equal(statuses.filter((x) => x === 'connected').length, 2, 'one connected for each open');
      assert.equal(statuses.filter((x) => x === 'disconnected').length, user.attempts.length - 1, 'one disconnected for each loss');
    });
  }

  test('killed and its port closed for 3 s: attempts after 1 s and 2 s more', async () => {
    const { server, rt } = await fresh();
    const user = rt.sdk();
    const channel = await user.open('room2');
    await server.kill();
    await until('the third attempt', () => user.attempts.length >= 3);
    assert.equal(user.attempts[0].closed.code, 1006);
    const [first, second] = pauses(user);
    near(first, 1000);
    near(second, 2000);
    const mark = channel.mark; // before it can be back
    await server.restart();
    await channel.wait({ action: 'join' }, { from: mark, timeout: 40_000 });
    channel.message('after');
    await channel.wait({ action: 'message', payload: 'after' });
  });

  test('HTTP 503 with Retry-After at the limit of sockets: the SDK backs off 1, 2, 4 s', async () => {
    const { server, rt } = await fresh({ env: { FANFARE_LIMITS_SOCKETS: '1' } });
    await server.deserted(); // of the harness's own socket
    const first = await until('the only seat', () => rt.raw().catch(() => undefined), { every: 50 });
    const user = rt.sdk();
    const [channel] = user.prepare('room2');
    channel.listen();
    await until('three attempts', () => user.attempts.length >= 3 && user.attempts[2].closed);
    for (const attempt of user.attempts.slice(0, 3)) {
      assert.equal(attempt.status, 503);
      assert.ok(Number(attempt.retryAfter) >= 1, `Retry-After: ${attempt.retryAfter}`);
    }
    await first.close();
    await channel.wait({ action: 'join' });
    assert.equal(user.attempts.length, 4);
    for (const [i, expected] of [1000, 2000, 4000].entries()) near(pauses(user)[i], expected);
  });

  test('upgrades_per_second at the limit: 503 or 429 with Retry-After, nobody is accepted and thrown out', async () => {
    const { server, rt } = await fresh({ env: { FANFARE_LIMITS_UPGRADES_PER_SECOND: '20' } });
    const results = await Promise.all(tick(120).map(async () => {
      const client = new RawClient(rt.socketUrl, {});
      server.clients.add(client);
      return client.opened.then(() => client, (err) => err.response ?? err);
    }));
    const refused = results.filter((r) => r.status);
    assert.ok(refused.length > 20, `${refused.length} of 120 refused`);
    for (const r of refused) {
      assert.match(String(r.status), /^(503|429)$/);
      assert.ok(Number(r.headers['retry-after']) >= 1);
    }
    const accepted = results.filter((r) => r instanceof RawClient);
    assert.ok(accepted.length >= 10, `${accepted.length} accepted`); // the harness has used some of the second's upgrades
    await Promise.all(accepted.map((c) => c.settled()));
  });

  test('4000 is echoed; so are 1000 and other codes of the client', async () => {
    const { rt } = await fresh();
    for (const code of [4000, 1000, 3000, 4999]) {
      const client = await rt.raw();
      assert.equal((await client.close(code)).code, code);
    }
    const client = await rt.raw();
    client.socket.close();
    assert.match(String((await client.ended).code), /^(1000|1005)$/, 'a close without a code');
  });

  for (const [what, move] of Object.entries({
    'an unknown hash': (rt) => ({ hash: newHash(), rt }),
    'realtime turned off': (rt) => ({ off: () => rt.put({ enabled: false, channels: rt.channels }) }),
  })) {
    test(`4401 after an error frame (${what}): no further attempt in 5 s`, async () => {
      const { rt } = await fresh();
      const plan = move(rt);
      const user = rt.sdk({ hash: plan.hash ?? rt.hash });
      const [channel] = user.prepare('room2');
      channel.listen();
      if (plan.off) {
        await channel.wait({ action: 'join' });
        await plan.off();
      }
      await channel.errors.wait({ action: 'error' });
      await channel.wait({ action: 'connection_status', payload: { status: 'disconnected' } });
      assert.equal(user.attempt.closed.code, 4401);
      await span(5000); // the span is the matter
      assert.equal(user.attempts.length, 1);
    });
  }

  test('realtimeReconnect: a new socket about 1 s later, joins again, presence has no ghost', async () => {
    const { rt } = await fresh();
    const watcher = await rt.raw();
    await watcher.joined('room2', { presence: true });
    const user = rt.sdk();
    const channel = await user.open('room2', { presence: true });
    const old = (await channel.wait({ action: 'join' })).client.socketId;
    const mark = channel.mark;
    user.reconnect();
    await watcher.wait({ action: 'presence_update', payload: { action: 'leave', presence: { socketId: old } } });
    const join = await channel.wait({ action: 'join' }, { from: mark });
    assert.notEqual(join.client.socketId, old);
    await until('presence of two', () => channel.presence().length === 2);
    near(user.attempts[1].at - user.attempts[0].closed.at, 1000);
  });
});

describe('a drain (SIGTERM)', { concurrency: 2 }, () => {
  test('closes with 1012 spread over the window, answers 503 with Retry-After meanwhile, and ends with status 0', async () => {
    const { server, rt } = await fresh({ env: { FANFARE_DRAIN: '3s' } });
    const clients = await Promise.all(tick(40).map(() => rt.raw()));
    await Promise.all(clients.map((c) => c.joined('room1')));
    const started = performance.now();
    const stopped = server.stop();
    await until('/readyz to say no', async () => (await request(`${server.ops}/readyz`)).status === 503);
    const probe = new RawClient(rt.socketUrl, {});
    const refused = await probe.opened.then(() => assert.fail('a draining server took a socket'), (err) => err.response);
    assert.equal(refused?.status, 503);
    assert.ok(Number(refused.headers['retry-after']) >= 1, `Retry-After: ${refused.headers['retry-after']}`);
    const closed = await Promise.all(clients.map((c) => c.ended));
    assert.deepEqual([...new Set(closed.map((c) => c.code))], [1012]);
    const times = closed.map((c) => c.at - started).sort((a, b) => a - b);
    assert.ok(times.at(-1) < 10_000, `the last close came after ${times.at(-1)} ms`);
    assert.ok(times.at(-1) - times[0] > 1500, `spread over only ${times.at(-1) - times[0]} ms`);
    for (let i = 0; i + 20 < times.length; i++) assert.ok(times[i + 20] - times[i] > 400, 'half of them at once');
    const exit = await stopped;
    assert.deepEqual(exit, { code: 0, signal: null });
  });

  test('with nobody connected it ends at once with status 0', async () => {
    const { server } = await fresh({ env: { FANFARE_DRAIN: '30s' } });
    const started = performance.now();
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    assert.ok(performance.now() - started < 20_000, `took ${performance.now() - started} ms`);
  });

  test('messages still flow among those not yet sent away, and nothing acknowledged is lost', async () => {
    const { server, rt } = await fresh({ env: { FANFARE_DRAIN: '2s' } }, [nested('kept', { history: 1000 })]);
    const clients = await Promise.all(tick(10).map(() => rt.raw()));
    await Promise.all(clients.map((c) => c.joined('kept/a')));
    const acked = [];
    let n = 0;
    const sending = Promise.all(clients.map(async (c) => {
      while (!c.closed) {
        const value = n++;
        const answer = await Promise.race([c.publish('kept/a', value), c.ended]);
        if (answer.action === 'ack') acked.push(value);
        else if (answer.action === 'error') break;
      }
    }));
    await until('some traffic', () => acked.length > 50);
    const before = acked.length;
    assert.equal((await server.stop()).code, 0);
    await sending;
    assert.ok(acked.length > before, 'traffic went on during the drain');
    await server.restart();
    const reader = await rt.raw();
    await reader.joined('kept/a');
    const { history } = await reader.history('kept/a');
    const kept = new Set(history.map((f) => f.payload));
    const expected = acked.slice(-400);
    assert.deepEqual(expected.filter((v) => !kept.has(v)), []);
  });

  test('a second SIGTERM does no harm', async () => {
    const { server, rt } = await fresh({ env: { FANFARE_DRAIN: '2s' } });
    // One alone would be sent away at once, and the drain be over before anybody could look.
    const clients = await Promise.all(tick(20).map(() => rt.raw()));
    const stopped = server.stop();
    await until('draining', async () => (await request(`${server.ops}/readyz`)).status === 503);
    server.child.kill('SIGTERM');
    const exit = await stopped;
    await Promise.all(clients.map((c) => c.ended));
    assert.ok(exit.code !== null || exit.signal === 'SIGTERM', JSON.stringify(exit));
    assert.doesNotMatch(server.output, /^panic:/m);
  });
});
