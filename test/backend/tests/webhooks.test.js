// A verifier of Standard Webhooks that others have written accepts what Fanfare signs, and nothing else.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { Webhook } from "standardwebhooks";
import WebSocket from "ws";
import { connect, rule, startServer } from "../server.js";

const OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const calls = [];
let hook, server;

before(async () => {
  hook = createServer((req, res) => {
    const parts = [];
    req.on("data", (part) => parts.push(part));
    req.on("end", () => {
      const body = Buffer.concat(parts).toString();
      calls.push({ headers: req.headers, body });
      res.setHeader("content-type", "application/json");
      res.end(JSON.stringify(JSON.parse(body).payload)); // as it came
    });
  }).listen(0, "127.0.0.1");
  await once(hook, "listening");
  server = await startServer([
    rule("chat", {
      // Two secrets, as while one is being replaced.
      triggers: [{ url: `http://127.0.0.1:${hook.address().port}/`, actions: { join: true, message: true }, secret: [NEW, OLD] }],
    }),
  ]);
});

after(async () => {
  await server?.stop();
  hook?.close();
});

test("standardwebhooks accepts our calls", async () => {
  const socket = await connect(server, WebSocket);
  socket.send({ action: "join", options: { channel: "chat/a" } });
  await socket.next("join");
  socket.send({ action: "message", options: { channel: "chat/a", ref: "1" }, payload: { text: "Grüße, \u2028 <b>&</b>" } });
  await socket.next("ack");
  socket.close();
  assert.equal(calls.length, 2);
  for (const { headers, body } of calls) {
    for (const secret of [OLD, NEW]) {
      const payload = new Webhook(secret).verify(body, headers);
      assert.equal(payload.channel ?? payload.options?.channel, "chat/a", body);
    }
    assert.throws(() => new Webhook("whsec_" + Buffer.from("somebody else's secret!!").toString("base64")).verify(body, headers));
    assert.throws(() => new Webhook(OLD).verify(body.replace("chat/a", "chat/b"), headers));
    assert.throws(() => new Webhook(OLD).verify(body, { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) - 600) }));
    assert.throws(() => new Webhook(OLD).verify(body, { ...headers, "webhook-id": "msg_other" }));
  }
  assert.notEqual(calls[0].headers["webhook-id"], calls[1].headers["webhook-id"]);
});

test("the vector of the specification", () => {
  const at = new Date(1614265330 * 1000);
  assert.equal(
    new Webhook(OLD).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, '{"test": 2432232314}'),
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  );
});
