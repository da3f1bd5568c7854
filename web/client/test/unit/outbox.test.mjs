import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { FakeServer } from "../fake.mjs";
import { MemoryStore, code, connect, reached, record, until } from "../tools.mjs";

let server, clients;
beforeEach(async () => {
  server = await new FakeServer().listen();
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.close();
  await server.close();
});
const client = (options, url = server.url) => {
  const it = connect(url, options);
  clients.push(it);
  return it;
};
const drop = () => [...server.sessions].forEach((session) => session.ws.terminate());

test("send settles with id and offset", async () => {
  const room = client().channel("room");
  await room.open();
  const ack = await room.send({ text: "hi" });
  assert.deepEqual(Object.keys(ack).sort(), ["id", "offset"]);
});

test("a refused message rejects with the code and the time to wait", async () => {
  const room = client().channel("room");
  const errors = record(room, "error");
  await room.open();
  server.onFrame = (session, { action, options }) => {
    if (action === "message") session.error("message_rejected", options, { retry_after: 7 });
    return action === "message";
  };
  await assert.rejects(room.send(1), (error) => code("message_rejected")(error) && error.retryAfter === 7 && error.channel === "room");
  assert.equal(errors.length, 1);
});

test("queue false: refused while away; what was sent and not answered is of unknown outcome", async () => {
  const room = client().channel("room", { queue: false });
  const opening = room.open();
  await assert.rejects(room.send(1), code("not_open"));
  await opening;
  server.onFrame = (session, { action }) => action === "message";
  const lost = room.send(2);
  await until(() => server.frames("message").length);
  drop();
  await assert.rejects(lost, code("unknown_outcome"));
});

test("messages of a disconnected time arrive once, in order", async () => {
  const fanfare = client();
  const room = fanfare.channel("room");
  const sizes = record(room, "queue");
  await room.open();
  server.onUpgrade = () => 503;
  const waiting = reached(fanfare, "waiting");
  drop();
  await waiting;
  const sent = Array.from({ length: 50 }, (_, n) => room.send(n));
  assert.equal(room.pending().length, 50);
  server.onUpgrade = () => undefined;
  await Promise.all(sent);
  assert.deepEqual(server.payloads("room"), Array.from({ length: 50 }, (_, n) => n));
  assert.equal(sizes.at(-1).payload.size, 0);
  assert.ok(sizes.some((frame) => frame.payload.size === 50));
});

test("a stored message whose acknowledgement was lost is not sent twice", async () => {
  const room = client().channel("room");
  await room.open();
  await room.send("before");
  server.onFrame = (session, frame) => {
    if (frame.action !== "message") return false;
    server.onFrame = () => false;
    const { send } = session;
    session.send = () => {}; // neither echo nor acknowledgement leaves
    session.handle(frame);
    session.send = send;
    session.ws.terminate();
    return true;
  };
  const got = record(room, "message");
  const ack = await room.send("once");
  assert.ok(ack.offset);
  await room.send("after");
  assert.deepEqual(server.payloads("room"), ["before", "once", "after"]);
  assert.deepEqual(got.map((frame) => frame.payload), ["once", "after"]);
});

test("rate limits and elections are waited for, in order, without telling the application", async () => {
  const room = client().channel("room");
  const errors = record(room, "error");
  await room.open();
  let count = 0;
  server.onFrame = (session, { action, options }) => {
    if (action !== "message" || ++count % 3) return false;
    session.error(["rate_limited", "unavailable", "unknown_outcome"][(count / 3) % 3], options, { retry_after: 0.01 });
    return true;
  };
  server.onUpgrade = () => 503;
  drop();
  await until(() => !room.joined);
  const sent = Array.from({ length: 12 }, (_, n) => room.send(n));
  server.onUpgrade = () => undefined;
  await Promise.all(sent);
  assert.deepEqual(server.payloads("room"), Array.from({ length: 12 }, (_, n) => n));
  assert.equal(errors.length, 0);
});

test("while all is well messages do not wait for each other", async () => {
  const room = client().channel("room");
  await room.open();
  let most = 0;
  const held = [];
  server.onFrame = (session, frame) => {
    if (frame.action !== "message") return false;
    held.push(() => session.handle(frame));
    most = Math.max(most, held.length);
    return true;
  };
  const sent = Array.from({ length: 40 }, (_, n) => room.send(n));
  await until(() => most === 16);
  server.onFrame = () => false;
  for (const go of held) go();
  await Promise.all(sent);
  assert.deepEqual(server.payloads("room"), Array.from({ length: 40 }, (_, n) => n));
});

test("the queue is bounded", async () => {
  server.onUpgrade = () => 503;
  const room = client().channel("room", { queueLimit: 3 });
  room.open();
  for (let n = 0; n < 3; n++) room.send(n);
  await assert.rejects(room.send(3), code("queue_full"));
});

test("what is not JSON is refused at once; what changes later was not sent", async () => {
  const room = client().channel("room");
  await room.open();
  const loop = {};
  loop.loop = loop;
  await assert.rejects(room.send(loop), code("invalid_payload"));
  await assert.rejects(room.send(1n), code("invalid_payload"));
  drop();
  const payload = { n: 1 };
  const sent = room.send(payload);
  payload.n = 2;
  await sent;
  await room.send(undefined);
  assert.deepEqual(server.payloads("room"), [{ n: 1 }, null]);
});

test("a message that ends the socket as too large is given up, the others go on", async () => {
  const room = client().channel("room");
  await room.open();
  server.onFrame = (session, { action, payload }) => {
    if (action !== "message" || payload !== "large") return false;
    session.ws.close(1009);
    return true;
  };
  const large = room.send("large");
  const small = room.send("small");
  await assert.rejects(large, code("too_large"));
  await small;
});

test("an acknowledgement that does not come ends the socket, and the message is sent again", async () => {
  const room = client({ timeout: 500 }).channel("room");
  await room.open();
  server.onFrame = (session, { action }) => {
    if (action !== "message") return false;
    server.onFrame = () => false;
    return true;
  };
  await room.send("again");
  assert.deepEqual(server.payloads("room"), ["again"]);
  assert.ok(server.upgrades.length >= 2, "on another socket");
});

test("a persistent queue outlives its page", async () => {
  const store = new MemoryStore();
  server.onUpgrade = () => 503;
  const first = client({ store });
  const room = first.channel("room", { queue: "persistent" });
  room.open();
  const waiting = [1, 2, 3].map((n) => room.send(n));
  await until(() => store.rows.length === 3);
  first.close();
  for (const promise of waiting) await assert.rejects(promise, code("closed"));
  assert.equal(store.rows.length, 3);

  const again = client({ store }).channel("room", { queue: "persistent" });
  again.open();
  const fourth = again.send(4);
  await until(() => again.pending().length === 4);
  server.onUpgrade = () => undefined;
  assert.deepEqual(again.pending().map((message) => message.payload), [1, 2, 3, 4]);
  await fourth;
  assert.deepEqual(server.payloads("room"), [1, 2, 3, 4]);
  await until(() => store.rows.length === 0);
});

test("a page that ends between sending and acknowledgement does not send twice", async () => {
  const store = new MemoryStore();
  const first = client({ store });
  const room = first.channel("room", { queue: "persistent" });
  await room.open();
  await room.send("before");
  server.onFrame = (session, frame) => {
    if (frame.action === "message") {
      session.send = () => {};
      session.handle(frame);
    }
    return frame.action === "message";
  };
  room.send("once");
  await until(() => server.payloads("room").length === 2 && store.rows.length === 1);
  first.close();
  server.onFrame = () => false;
  const again = client({ store }).channel("room", { queue: "persistent" });
  await again.open();
  await again.send("after");
  assert.deepEqual(server.payloads("room"), ["before", "once", "after"]);
});

test("a store that fails is told, and the queue goes on in memory", async () => {
  const broken = { load: () => Promise.reject(new Error("no")), put: () => Promise.reject(new Error("no")), remove: () => Promise.reject(new Error("no")) };
  const room = client({ store: broken }).channel("room", { queue: "persistent" });
  const errors = record(room, "error");
  room.open();
  await room.send(1);
  assert.deepEqual(server.payloads("room"), [1]);
  assert.ok(errors.every((frame) => frame.payload.code === "storage_failed") && errors.length > 0);
});
