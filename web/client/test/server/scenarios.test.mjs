// What the client promises, against a real server.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, afterEach, before, test } from "node:test";
import { code, connect, record, until } from "../tools.mjs";
import { Server } from "./server.mjs";

const secret = "a-secret-of-at-least-thirty-two-bytes-for-tests";
let server;
const clients = [];
before(async () => {
  server = new Server();
  server.environment = { FANFARE_AUTH_JWT_SECRET: secret };
  await server.start();
});
after(() => server?.close());
afterEach(() => clients.splice(0).forEach((client) => client.close()));

let channels = 0;
const channel = () => `chat/scenario-${++channels}`;
const client = (options, url = server.url) => {
  const it = connect(url, { timeout: 15_000, backoff: { min: 50, max: 500 }, ...options });
  clients.push(it);
  return it;
};
function token(claims, seconds = 3600) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const head = part({ alg: "HS256", typ: "JWT" }) + "." + part({ exp: Math.floor(Date.now() / 1000) + seconds, ...claims });
  return head + "." + createHmac("sha256", secret).update(head).digest("base64url");
}
const payloads = (frames) => frames.map(({ payload }) => payload);

test("messages, presence, presence data, history, private messages", async () => {
  const name = channel();
  const [a, b] = [client(), client()].map((it) => it.channel(name, { presence: true, history: true }));
  await a.open();
  await b.open();
  const [inA, inB] = [record(a, "message"), record(b, "message")];
  const ack = await a.send({ n: 1 });
  assert.match(ack.offset, /^\d+$/);
  await until(() => inB.length === 1);
  assert.equal(inB[0].options.id, ack.id);
  assert.equal(inB[0].client.socketId, a.self.socketId);

  await until(() => a.presence().length === 2 && b.presence().length === 2);
  a.setPresence({ cursor: [1, 2] });
  await until(() => b.presence().some(({ data }) => data?.cursor?.[1] === 2));

  await b.send("psst", { to: a.self.socketId });
  await until(() => inA.some(({ payload }) => payload === "psst"));
  assert.equal(inB.length, 1, "the sender has no echo of it");
  await assert.rejects(b.send("to nobody", { to: "nobody-at-all" }), code("recipient_not_found"));

  for (let n = 2; n <= 6; n++) await a.send({ n });
  const last = await b.history({ limit: 2 });
  assert.deepEqual(payloads(last.items), [{ n: 5 }, { n: 6 }]);
  assert.equal(last.more, true);
  const older = await b.history({ before: last.items[0].options.offset, limit: 10 });
  assert.deepEqual(payloads(older.items), [{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }]);
  assert.equal(older.more, false);
});

test("a pattern brings the channels below it, and never claims to be whole after a reconnect", async () => {
  const name = channel();
  const fanfare = client();
  const all = fanfare.channel("chat/*", { presence: true });
  const [got, joins] = [record(all, "message"), record(all, "join")];
  await all.open();
  const one = client().channel(name);
  await one.open();
  await one.send(1);
  await until(() => got.length === 1);
  assert.equal(got[0].options.source, name);
  assert.equal(got[0].options.channel, "chat/*");
  await until(() => all.presence().some((member) => member.source === name && member.socketId === one.self.socketId));
  await assert.rejects(all.send(1), code("pattern_send"));
  fanfare.reconnect();
  await until(() => joins.length === 2);
  assert.equal(joins[1].payload.resumed, false);
  await one.send(2);
  await until(() => got.length === 2);
});

test("an unknown hash ends it", async () => {
  const fanfare = client({}, server.url.replace("/demo", "/nonesuch"));
  const errors = record(fanfare, "error");
  const room = fanfare.channel("room1");
  await assert.rejects(room.open(), code("ended"));
  assert.equal(fanfare.status.code, 4401);
  assert.ok(errors.length > 0);
});

test("a channel without a rule is refused, one with a rule on the same socket is not", async () => {
  const fanfare = client();
  const [no, yes] = [fanfare.channel("no/such"), fanfare.channel("room1")];
  const refused = no.open();
  await yes.open();
  await assert.rejects(refused, code("channel_not_found"));
});

// The replacement waits up to two seconds for what is not acknowledged, and here there is always something.
test("a token makes the identity; it is replaced before it expires and nothing is lost", async () => {
  const name = channel();
  let asked = 0;
  const fanfare = client({ token: () => token({ dbo_id: 17, row_id: 3, extras: { name: "Jo" } }, asked++ ? 3600 : 8), refreshBefore: 5000 });
  const room = fanfare.channel(name);
  const other = client().channel(name);
  const got = record(other, "message");
  await Promise.all([room.open(), other.open()]);
  assert.deepEqual(room.self.permissions, { dbo_id: 17, row_id: 3 });
  assert.deepEqual(room.self.extras, { name: "Jo" });
  const first = room.self.socketId;
  const sent = [];
  while (room.self.socketId === first || !room.joined) {
    sent.push(room.send(sent.length));
    await new Promise((done) => setTimeout(done, 30));
  }
  await Promise.all(sent);
  await until(() => got.length === sent.length);
  assert.deepEqual(payloads(got), sent.map((_, n) => n));
  assert.equal(asked, 2);
  assert.equal(room.self.permissions.row_id, 3);
});

test("a bad token is replaced when the server refuses it", async () => {
  let asked = 0;
  const fanfare = client({ token: () => (asked++ ? token({ dbo_id: 1, row_id: 9 }) : token({ dbo_id: 1, row_id: 9 }) + "x") });
  const errors = record(fanfare, "error");
  const room = fanfare.channel(channel());
  await room.open();
  await until(() => room.self?.permissions.row_id === 9);
  assert.deepEqual(errors.map((error) => error.code), ["authentication_failed"]);
});

test("a message over the limit is refused, and the next one goes on", async () => {
  const room = client().channel(channel());
  await room.open();
  await assert.rejects(room.send("x".repeat(70_000)), code("too_large"));
  await room.send("small");
});

test("a burst over the rate limit is waited out: every message once, in order", { timeout: 180_000 }, async () => {
  const name = channel();
  const room = client().channel(name);
  const other = client().channel(name);
  const got = record(other, "message");
  await Promise.all([room.open(), other.open()]);
  // Too fast for the server only where its limit is small; 300 are more than its burst of 200.
  const sent = Array.from({ length: 300 }, (_, n) => room.send(n));
  await Promise.all(sent);
  await until(() => got.length === 300, "all", 60_000);
  assert.deepEqual(payloads(got).sort((a, b) => a - b), sent.map((_, n) => n));
});

test("a drained and restarted server: told with 1012, resumed, nothing lost", { timeout: 180_000 }, async () => {
  const name = channel();
  const [a, b] = [client(), client()].map((it) => it.channel(name));
  const got = record(b, "message");
  const [lost, joins] = [record(b, "connection_status"), record(b, "join")];
  await Promise.all([a.open(), b.open()]);
  await a.send("before");
  await until(() => got.length === 1);
  await server.stop("SIGTERM");
  const during = a.send("during");
  await server.start();
  await during;
  await until(() => got.length === 2, "the message of the time between", 60_000);
  assert.deepEqual(payloads(got), ["before", "during"]);
  assert.equal(lost.find(({ payload }) => payload.status === "disconnected").payload.code, 1012);
  assert.equal(joins.at(-1).payload.resumed, true);
});

test("a server that crashes loses nothing it acknowledged", { timeout: 180_000 }, async () => {
  const name = channel();
  const [a, b] = [client(), client()].map((it) => it.channel(name));
  const got = record(b, "message");
  await Promise.all([a.open(), b.open()]);
  const sent = [];
  const timer = setInterval(() => sent.push(a.send(sent.length)), 10);
  await until(() => got.length > 10);
  await server.stop("SIGKILL");
  await new Promise((done) => setTimeout(done, 300));
  await server.start();
  await until(() => a.joined && b.joined, "back", 60_000);
  clearInterval(timer);
  await Promise.all(sent);
  await until(() => got.length >= sent.length, "all", 60_000);
  assert.deepEqual(payloads(got), sent.map((_, n) => n));
  const stored = await server.history(name);
  assert.deepEqual(payloads(stored), payloads(got).slice(-stored.length));
});
