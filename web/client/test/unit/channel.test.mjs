import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { FakeServer } from "../fake.mjs";
import { code, connect, reached, record, until } from "../tools.mjs";

let server, clients;
beforeEach(async () => {
  server = await new FakeServer().listen();
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.close();
  await server.close();
});
const client = (options) => {
  const it = connect(server.url, options);
  clients.push(it);
  return it;
};

test("frames are those of the protocol, in the order of the calls", async () => {
  const fanfare = client();
  const a = fanfare.channel("a", { presence: true });
  const b = fanfare.channel("b", { history: true });
  a.open();
  b.open();
  a.send({ n: 1 });
  await a.send("two", { authenticated: true });
  await b.send(null, { to: fanfare.channel("b").self.socketId });
  a.close();
  await until(() => server.frames("leave").length);
  const sent = server.received.map(({ frame }) => frame);
  for (const { options } of sent) {
    assert.equal(options.key, options.ref);
    if (options.ref) options.ref = options.key = "R";
  }
  assert.deepEqual(sent.filter((frame) => frame.options.channel === "a"), [
    { action: "join", options: { channel: "a" }, payload: { history: false, presence: true } },
    { action: "message", options: { channel: "a", ref: "R", key: "R" }, payload: { n: 1 } },
    { action: "message", options: { channel: "a", ref: "R", key: "R", authenticated: true }, payload: "two" },
    { action: "leave", options: { channel: "a" }, payload: null },
  ]);
  assert.deepEqual(sent.filter((frame) => frame.options.channel === "b"), [
    { action: "join", options: { channel: "b" }, payload: { history: true, presence: false } },
    { action: "message", options: { channel: "b", ref: "R", key: "R", socketId: "s1" }, payload: null },
  ]);
});

test("the eight events come by name, and all of them as all", async () => {
  const room = client().channel("room", { presence: true, history: true });
  const names = ["connection_status", "presence_full", "presence_update", "message", "event", "history", "error"];
  const got = new Map(names.map((name) => [name, record(room, name)]));
  const all = [];
  room.on((frame) => all.push(frame.action));
  await room.open();
  await room.send("hi");
  server.publish("room", { action: "event", client: null, payload: { data: 1, dbo_id: 0, row_id: 0 } });
  const other = client().channel("room");
  await other.open();
  for (const session of server.sessions) session.error("some_error", { channel: "room" });
  await until(() => got.get("error").length && got.get("presence_update").length);
  for (const name of names) assert.equal(got.get(name).length, 1, name);
  assert.deepEqual(got.get("connection_status")[0].payload, { status: "connected", code: undefined });
  assert.deepEqual(all.filter((name) => name !== "join").sort(), [...names].sort());
  assert.equal(got.get("message")[0].client.socketId, room.self.socketId);
});

test("a listener that throws stops neither the others nor other channels", async () => {
  const fanfare = client();
  const a = fanfare.channel("a");
  const thrown = [];
  globalThis.reportError = (error) => thrown.push(error.message);
  try {
    a.on("message", () => {
      throw new Error("listener");
    });
    const got = record(a, "message");
    await a.open();
    await a.send(1);
    assert.equal(got.length, 1);
    assert.deepEqual(thrown, ["listener"]);
  } finally {
    delete globalThis.reportError;
  }
});

test("on returns what removes the listener", async () => {
  const room = client().channel("room");
  const got = [];
  const off = room.on("message", (frame) => got.push(frame.payload));
  await room.open();
  await room.send(1);
  off();
  await room.send(2);
  assert.deepEqual(got, [1]);
});

test("presence is kept: full, join, update, leave; data is set again after a reconnect", async () => {
  const a = client().channel("room", { presence: true });
  await a.open();
  const b = client();
  const room = b.channel("room", { presence: true });
  room.setPresence({ typing: true });
  await room.open();
  await until(() => a.presence().some((member) => member.data?.typing));
  assert.equal(a.presence().length, 2);
  await until(() => room.presence().find((member) => member.socketId === room.self.socketId)?.data?.typing);
  const before = room.self.socketId;
  b.reconnect();
  await until(() => room.self?.socketId !== before && room.joined);
  await until(() => a.presence().some((member) => member.socketId === room.self.socketId && member.data?.typing));
  assert.ok(!a.presence().some((member) => member.socketId === before));
  room.close();
  await until(() => a.presence().length === 1);
});

test("presence data is paced and the last one wins", async () => {
  const room = client().channel("room");
  await room.open();
  for (let x = 0; x < 100; x++) room.setPresence({ x });
  await until(() => server.frames("presence_update").at(-1)?.payload.data.x === 99);
  assert.ok(server.frames("presence_update").length <= 3);
});

test("history pages", async () => {
  const room = client().channel("room");
  await room.open();
  for (let n = 0; n < 5; n++) await room.send(n);
  const all = await room.history();
  assert.deepEqual(all.items.map((frame) => frame.payload), [0, 1, 2, 3, 4]);
  assert.equal(all.more, false);
  const [last, older] = await Promise.all([room.history({ limit: 2 }), room.history({ before: all.items[2].options.offset, limit: 1 })]);
  assert.deepEqual(last.items.map((frame) => frame.payload), [3, 4]);
  assert.equal(last.more, true);
  assert.deepEqual(older.items.map((frame) => frame.payload), [1]);
});

test("a refused join rejects with the server's code, tells listeners, and may be tried again", async () => {
  let refuse = true;
  server.onFrame = (session, frame) => {
    if (frame.action !== "join" || !refuse) return false;
    session.error("anonymous_not_allowed", { channel: frame.options.channel });
    return true;
  };
  const room = client().channel("room");
  const errors = record(room, "error");
  const waiting = room.send("never").catch((error) => error.code);
  assert.equal(await waiting, "not_open");
  const opened = room.open();
  const sent = room.send("never");
  await assert.rejects(opened, code("anonymous_not_allowed"));
  await assert.rejects(sent, code("anonymous_not_allowed"));
  assert.equal(errors.length, 1);
  assert.equal(room.isOpen, false);
  refuse = false;
  await room.open();
  await room.send("now");
  assert.deepEqual(server.payloads("room"), ["now"]);
});

test("a join that cannot be served now is tried again", async () => {
  let refusals = 2;
  server.onFrame = (session, frame) => {
    if (frame.action !== "join" || refusals-- <= 0) return false;
    session.error("unavailable", { channel: frame.options.channel }, { retry_after: 0.01 });
    return true;
  };
  const room = client().channel("room");
  await room.open();
  assert.equal(server.frames("join").length, 3);
});

test("a removed member is told and its channel is closed", async () => {
  const room = client().channel("room");
  const errors = record(room, "error");
  await room.open();
  for (const session of server.sessions) session.error("removed", { channel: "room" });
  await until(() => errors.length);
  assert.equal(room.isOpen, false);
  await assert.rejects(room.send(1), code("not_open"));
});

test("open, close, open in one go ends joined, with one membership", async () => {
  const fanfare = client();
  const other = fanfare.channel("other");
  await other.open();
  const room = fanfare.channel("room", { history: true });
  const got = record(room, "message");
  const first = room.open();
  room.close();
  const second = room.open();
  await assert.rejects(first, code("closed"));
  await second;
  await room.send("x");
  assert.equal(server.sessions.size, 1);
  assert.equal(got.length, 1);
  assert.equal(room.joined, true);
});

test("closing the last channel and opening another at once works, on one socket", async () => {
  const fanfare = client();
  const a = fanfare.channel("a");
  await a.open();
  a.close();
  const b = fanfare.channel("b");
  const statuses = record(b, "connection_status");
  await b.open();
  await b.send("still here");
  assert.deepEqual(server.payloads("b"), ["still here"]);
  assert.equal(server.upgrades.length, 1);
  assert.deepEqual(statuses.map((frame) => frame.payload.status), ["connected"]);
});

test("a channel made while connecting does not throw and is joined", async () => {
  const fanfare = client();
  const connecting = reached(fanfare, "connecting");
  fanfare.channel("a").open();
  await connecting;
  const late = fanfare.channel("late", { presence: true });
  late.open();
  late.send(1);
  const page = late.history();
  await late.open();
  assert.equal((await page).items.length, 1);
});

test("voluntary closing tells no disconnect; the socket goes with the last channel", async () => {
  const fanfare = client();
  const room = fanfare.channel("room");
  const statuses = record(room, "connection_status");
  await room.open();
  room.close();
  await until(() => server.sessions.size === 0, "socket closed");
  assert.deepEqual(statuses.map((frame) => frame.payload.status), ["connected"]);
  assert.equal(fanfare.status.state, "idle");
});

test("what was sent before close still gets its answer", async () => {
  const room = client().channel("room");
  await room.open();
  const sent = room.send("bye");
  room.close();
  assert.ok((await sent).offset);
});

test("channels do not leak into each other, and names are compared exactly", async () => {
  const fanfare = client();
  const [a, b] = ["chat/a", "chat/A"].map((name) => fanfare.channel(name));
  await Promise.all([a.open(), b.open()]);
  const [inA, inB] = [record(a, "message"), record(b, "message")];
  await a.send(1);
  await b.send(2);
  assert.deepEqual([inA.map((frame) => frame.payload), inB.map((frame) => frame.payload)], [[1], [2]]);
});

test("several clients on a page are independent", async () => {
  const one = client({ token: "token-1" });
  const two = client({ token: "token-2" });
  const [a, b] = [one.channel("room"), two.channel("room")];
  await Promise.all([a.open(), b.open()]);
  assert.notEqual(a.self.socketId, b.self.socketId);
  assert.deepEqual(server.upgrades.map((upgrade) => upgrade.token).sort(), ["token-1", "token-2"]);
  one.close();
  await b.send("alive");
});

test("one object for a name; other options for an open one are refused", async () => {
  const fanfare = client();
  const room = fanfare.channel("room", { presence: true });
  assert.equal(fanfare.channel("room"), room);
  await room.open();
  assert.throws(() => fanfare.channel("room", { presence: false }), code("invalid_options"));
  room.close();
  fanfare.channel("room", { presence: false });
});

test("unreadable frames are ignored", async () => {
  const room = client().channel("room");
  const got = record(room, "message");
  await room.open();
  for (const session of server.sessions) {
    for (const text of ["", "null", "[]", "{}", "{", '"x"', '{"action":5}', '{"action":"message"}']) session.ws.send(text);
    session.ws.send(Buffer.from([1, 2, 3]));
  }
  await room.send("after");
  assert.deepEqual(got.map((frame) => frame.payload), ["after"]);
});

test("addresses: http becomes ws, nonsense is refused at once", () => {
  const make = (url) => connect(url);
  for (const url of ["", "nowhere", "ftp://h/x", "javascript:alert(1)"]) assert.throws(() => make(url), code("invalid_url"));
  for (const url of ["http://127.0.0.1:1/rt/x", "https://h:8443/rt/x", "ws://h/rt/x", "wss://h/rt/x#y"]) make(url);
});
