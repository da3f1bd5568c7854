import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { FakeServer } from "../fake.mjs";
import { Proxy } from "../proxy.mjs";
import { code, connect, reached, record, until } from "../tools.mjs";

let server, clients, closers;
beforeEach(async () => {
  server = await new FakeServer().listen();
  clients = [];
  closers = [];
});
afterEach(async () => {
  for (const client of clients) client.close();
  for (const closer of closers) await closer.close();
  await server.close();
});
const client = (options, url = server.url) => {
  const it = connect(url, options);
  clients.push(it);
  return it;
};
const each = (visit) => [...server.sessions].forEach(visit);

/** A JWT that nobody signed. */
const jwt = (seconds, n = 0) => {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return [part({ alg: "none" }), part({ exp: Date.now() / 1000 + seconds, n }), "x"].join(".");
};

test("the token travels as subprotocol; a function is asked at every connect", async () => {
  let n = 0;
  const fanfare = client({ token: async () => "t" + ++n });
  const room = fanfare.channel("room");
  await room.open();
  each((session) => session.ws.terminate());
  await until(() => server.upgrades.length === 2 && room.joined);
  assert.deepEqual(server.upgrades.map((upgrade) => upgrade.token), ["t1", "t2"]);
});

test("no token, no subprotocol", async () => {
  await client({ token: () => null }).channel("room").open();
  assert.equal(server.upgrades[0].token, undefined);
});

test("a token that cannot travel is refused, a callback that fails is tried again", async () => {
  const bad = client({ token: "with space" });
  await assert.rejects(bad.channel("room").open(), code("invalid_token"));
  let fail = 2;
  const fanfare = client({
    token: () => {
      if (fail-- > 0) throw new Error("no network");
      return "good";
    },
  });
  const problems = record(fanfare, "error");
  await fanfare.channel("room").open();
  assert.deepEqual(problems.map((error) => error.code), ["token_failed", "token_failed"]);
});

test("a token is replaced before it expires, without losing what is under way", async () => {
  let n = 0;
  const fanfare = client({ token: () => jwt(n++ ? 3600 : 1.2, n), refreshBefore: 100 });
  const room = fanfare.channel("room");
  const statuses = record(room, "connection_status");
  await room.open();
  const first = server.upgrades[0].token;
  const sent = [];
  const timer = setInterval(() => sent.push(room.send(sent.length)), 20);
  await until(() => server.upgrades.length === 2 && room.joined);
  clearInterval(timer);
  await Promise.all(sent);
  assert.notEqual(server.upgrades[1].token, first);
  assert.deepEqual(server.payloads("room"), sent.map((_, i) => i));
  assert.deepEqual(statuses.map((frame) => frame.payload.status), ["connected", "disconnected", "connected"]);
});

test("an expired token is replaced when the server says so, but not for ever", async () => {
  let n = 0;
  server.onUpgrade = () => (session) => session.error("token_expired");
  const fanfare = client({ token: () => "t" + ++n });
  const problems = record(fanfare, "error");
  const room = fanfare.channel("room");
  await room.open();
  await until(() => problems.length >= 4);
  await room.send("anonymous now");
  assert.equal(n, 4);
});

test("setToken replaces the connection and resumes", async () => {
  const fanfare = client();
  const room = fanfare.channel("room");
  const got = record(room, "message");
  await room.open();
  await room.send(1);
  fanfare.setToken("later");
  await room.send(2);
  assert.equal(server.upgrades.at(-1).token, "later");
  assert.deepEqual(got.map((frame) => frame.payload), [1, 2]);
});

for (const closeCode of [1000, 1001, 1011, 1012, 1013, 1014, 4000]) {
  test(`close code ${closeCode}: comes back`, async () => {
    const room = client().channel("room");
    const statuses = record(room, "connection_status");
    await room.open();
    each((session) => session.ws.close(closeCode));
    await until(() => statuses.length === 3 && room.joined);
    assert.deepEqual(statuses.map((frame) => frame.payload.status), ["connected", "disconnected", "connected"]);
    assert.equal(statuses[1].payload.code, closeCode);
  });
}

for (const closeCode of [1008, 4401]) {
  test(`close code ${closeCode}: ends it, until it is opened again`, async () => {
    const fanfare = client();
    const room = fanfare.channel("room");
    await room.open();
    server.onFrame = (session, { action }) => action === "message";
    const unanswered = room.send(1);
    await until(() => server.frames("message").length);
    const ended = record(fanfare, "error");
    each((session) => session.ws.close(closeCode, "go away"));
    await assert.rejects(unanswered, (error) => ["ended", "unknown_outcome"].includes(error.code));
    assert.equal(fanfare.status.state, "ended");
    assert.equal(ended[0].message, "go away");
    assert.equal(room.isOpen, false);
    await new Promise((done) => setTimeout(done, 150));
    assert.equal(server.upgrades.length, 1);
    server.onFrame = () => false;
    await room.open();
    await room.send(2);
  });
}

test("refused upgrades: the delays grow and are jittered; a stable connection resets them", async () => {
  server.onUpgrade = () => 503;
  const fanfare = client({ backoff: { min: 20, max: 160 } });
  const delays = [];
  fanfare.on("status", ({ state, retryIn }) => state === "waiting" && delays.push(retryIn));
  const room = fanfare.channel("room");
  const statuses = record(room, "connection_status");
  room.open();
  await until(() => delays.length === 6);
  delays.forEach((delay, i) => {
    const ceiling = Math.min(160, 20 * 2 ** i);
    assert.ok(delay >= ceiling / 2 && delay <= ceiling, `${i}: ${delay}`);
  });
  assert.deepEqual(statuses, [], "never was connected, so never was disconnected");
  server.onUpgrade = () => undefined;
  await room.open();
  await new Promise((done) => setTimeout(done, 220));
  each((session) => session.ws.terminate());
  await until(() => delays.length === 7);
  assert.ok(delays[6] <= 20);
});

test("accept-then-close does not become a storm", async () => {
  server.onUpgrade = () => (session) => session.ws.close(1013);
  client({ backoff: { min: 20, max: 1000 } }).channel("room").open();
  await new Promise((done) => setTimeout(done, 600));
  assert.ok(server.upgrades.length <= 7, String(server.upgrades.length));
});

test("resume brings what was missed, in order, before what is live; nothing twice", async () => {
  const fanfare = client();
  const room = fanfare.channel("room");
  const got = record(room, "message");
  const joins = record(room, "join");
  await room.open();
  await room.send("seen");
  server.onUpgrade = () => 503;
  const waiting = reached(fanfare, "waiting");
  each((session) => session.ws.terminate());
  await waiting;
  for (let n = 0; n < 5; n++) server.publish("room", { action: "message", client: null, payload: n });
  server.onUpgrade = () => undefined;
  await until(() => got.length === 6);
  assert.deepEqual(got.map((frame) => frame.payload), ["seen", 0, 1, 2, 3, 4]);
  assert.equal(joins[1].payload.resumed, true);
  assert.deepEqual(server.frames("join")[1].payload.resume, { offset: got[0].options.offset, epoch: "e1" });
});

test("a cut in the middle of what is missed leaves no hole", async () => {
  const fanfare = client();
  const room = fanfare.channel("room");
  const got = record(room, "message");
  await room.open();
  await room.send("seen");
  let cuts = 3;
  server.onFrame = (session, frame) => {
    if (frame.action !== "join" || cuts-- <= 0) return false;
    const { send } = session;
    let left = 3; // the join answer and two frames get through
    session.send = (value) => left-- > 0 && send.call(session, value);
    session.handle(frame);
    session.ws.close(1012);
    return true;
  };
  each((session) => session.ws.terminate());
  for (let n = 0; n < 9; n++) server.publish("room", { action: "message", client: null, payload: n });
  await until(() => got.length === 10);
  assert.deepEqual(got.map((frame) => frame.payload), ["seen", 0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

test("a resume that is not whole is told, with the history", async () => {
  const room = client().channel("room");
  const [joins, histories] = [record(room, "join"), record(room, "history")];
  await room.open();
  await room.send(1);
  server.channel("room").epoch = "e2";
  each((session) => session.ws.terminate());
  await until(() => histories.length === 1);
  assert.equal(joins[1].payload.resumed, false);
  assert.equal(room.position.epoch, "e2");
});

test("without history a reconnect says that something may have been missed", async () => {
  server.rules.history = 0;
  const room = client().channel("room");
  const [joins, histories] = [record(room, "join"), record(room, "history")];
  const info = await room.open();
  assert.equal(info.resumed, undefined);
  each((session) => session.ws.terminate());
  await until(() => joins.length === 2);
  assert.equal(joins[1].payload.resumed, false);
  await room.send(1);
  assert.equal(histories.length, 0, "nothing is stored, nothing to show");
});

test("a gap on a live socket is repaired by joining anew", async () => {
  const room = client().channel("room");
  const [got, errors, joins] = [record(room, "message"), record(room, "error"), record(room, "join")];
  await room.open();
  await room.send(1);
  const [session] = server.sessions;
  server.channel("room").members.delete(session); // misses the next one
  server.publish("room", { action: "message", client: null, payload: 2 });
  server.channel("room").members.add(session);
  session.error("gap", { channel: "room" });
  await until(() => got.length === 2);
  await room.send(3);
  assert.deepEqual(got.map((frame) => frame.payload), [1, 2, 3]);
  assert.equal(joins[1].payload.resumed, true);
  assert.equal(errors.length, 0);
});

test("a position kept from before a reload resumes", async () => {
  const first = client().channel("room");
  await first.open();
  await first.send(1);
  const { position } = first;
  await first.send(2);
  const again = client().channel("room", { position });
  const got = record(again, "message");
  assert.equal((await again.open()).resumed, true);
  await until(() => got.length === 1);
  assert.equal(got[0].payload, 2);
});

test("late words of an older socket are not heard", async () => {
  const fanfare = client();
  const room = fanfare.channel("room");
  const [got, statuses] = [record(room, "message"), record(room, "connection_status")];
  await room.open();
  const [old] = server.sessions;
  fanfare.reconnect();
  await until(() => room.joined && room.self.socketId !== old.id);
  old.send({ action: "message", options: { channel: "room", id: "old" }, payload: "late" });
  old.ws.terminate();
  await room.send("new");
  assert.deepEqual(got.map((frame) => frame.payload), ["new"]);
  assert.equal(statuses.length, 3);
});

test("closing while connecting, and in listeners, leaves nothing behind", async () => {
  const fanfare = client();
  fanfare.channel("room").open();
  fanfare.close();
  const connecting = reached(fanfare, "connecting");
  fanfare.channel("room").open();
  await connecting;
  fanfare.close();
  await new Promise((done) => setTimeout(done, 50));
  assert.equal(fanfare.status.state, "idle");
  const room = fanfare.channel("room");
  room.on("connection_status", ({ payload }) => payload.status === "disconnected" && fanfare.close());
  await room.open();
  each((session) => session.ws.terminate());
  await until(() => fanfare.status.state === "idle");
  await new Promise((done) => setTimeout(done, 100));
  assert.equal(server.sessions.size, 0);
});

test("a network that swallows everything is found out by the heartbeat", async () => {
  const proxy = await new Proxy(server.port).listen();
  closers.push(proxy);
  const fanfare = client({ heartbeat: 50, timeout: 100 }, `ws://127.0.0.1:${proxy.port}/rt/demo`);
  const room = fanfare.channel("room");
  const [got, histories] = [record(room, "message"), record(room, "history")];
  await room.open();
  await room.send("seen");
  proxy.swallow();
  server.publish("room", { action: "message", client: null, payload: "missed" });
  await until(() => got.length === 2);
  assert.equal(histories.length, 0, "the probe's answer is nobody's business");
});

test("an attempt to connect that hangs is given up", async () => {
  const proxy = await new Proxy(server.port).listen();
  closers.push(proxy);
  proxy.delay = 100_000;
  const fanfare = client({ timeout: 50 }, `ws://127.0.0.1:${proxy.port}/rt/demo`);
  const room = fanfare.channel("room");
  const waiting = reached(fanfare, "waiting");
  const opening = room.open();
  await waiting;
  proxy.delay = 0;
  await opening;
});
