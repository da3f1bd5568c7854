// Clients whose network is cut, delayed and half closed at random, against a real server: no hole, no duplicate,
// the order of the queue kept.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Proxy } from "../proxy.mjs";
import { connect, record, until } from "../tools.mjs";
import { Server } from "./server.mjs";

let server;
before(async () => {
  server = await new Server().start();
  const rules = await server.api("GET", "/api:meta/workspace/1/realtime/channel", undefined, server.adminToken);
  const rule = rules.body.items.find(({ pattern }) => pattern.startsWith("chat"));
  const answer = await server.api("PUT", `/api:meta/workspace/1/realtime/channel/${rule.id}`, { ...rule, history: 1000 }, server.adminToken);
  assert.equal(answer.status, 200);
});
after(() => server?.close());

/** Repeatable when SEED is set. */
const seed = Number(process.env.SEED ?? Date.now() % 1e9);
let state = seed;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function peer(channel, options) {
  const proxy = await new Proxy(server.port).listen();
  proxy.delay = () => random() * 10;
  // Who only listens has nothing but the heartbeat to find out that its connection swallows everything.
  const client = connect(`ws://127.0.0.1:${proxy.port}/rt/demo`, { timeout: 500, heartbeat: 1000, backoff: { min: 20, max: 200 }, ...options });
  const room = client.channel(channel, { queueLimit: 5000 });
  return { proxy, client, room, got: record(room, "message"), joins: record(room, "join") };
}

function harm({ proxy }) {
  const kind = random();
  if (kind < 0.6) proxy.cut();
  else if (kind < 0.75) proxy.halfClose("client");
  else if (kind < 0.9) proxy.halfClose("server");
  else proxy.swallow();
}

const reconnects = Number(process.env.RECONNECTS ?? 200);

test(`${reconnects} random reconnects`, { timeout: 300_000 }, async () => {
  console.log(`SEED=${seed}`);
  const name = "chat/chaos";
  const peers = [await peer(name), await peer(name), await peer(name)];
  await Promise.all(peers.map(({ room }) => room.open()));
  const counts = [0, 0];
  const failed = [];
  let going = true;
  const senders = [0, 1].map(async (who) => {
    while (going && counts[who] < 480) {
      peers[who].room.send({ who, n: counts[who]++ }).catch((error) => failed.push(error));
      await pause(5 + random() * 120);
    }
  });
  const total = () => peers.reduce((sum, { joins }) => sum + joins.length - 1, 0);
  while (total() < reconnects) {
    await pause(10 + random() * 150);
    harm(peers[Math.floor(random() * peers.length)]);
  }
  going = false;
  await Promise.all(senders);
  await until(() => peers.every(({ room }) => room.joined && room.pending().length === 0), "the queues are empty", 120_000);
  assert.deepEqual(failed, []);
  const sent = counts.map((count, who) => Array.from({ length: count }, (_, n) => n));
  await until(() => peers.every(({ got }) => got.length >= counts[0] + counts[1]), "all has arrived", 60_000);

  const of = (frames, who) => frames.filter(({ payload }) => payload.who === who).map(({ payload }) => payload.n);
  const stored = await server.history(name);
  for (const who of [0, 1]) assert.deepEqual(of(stored, who), sent[who], "stored once each, in the order they were sent");
  const order = stored.map(({ options }) => options.id);
  for (const { got, joins } of peers) {
    assert.deepEqual(got.map(({ options }) => options.id), order, "heard once each, in the channel's order");
    assert.ok(joins.slice(1).every(({ payload }) => payload.resumed), "every resume was whole");
  }
  console.log(`${total()} reconnects, ${order.length} messages`);
  for (const { client, proxy } of peers) {
    client.close();
    await proxy.close();
  }
});
