// Moderates a chat: Fanfare asks this server about every join and every message of the channels whose rule names it
// as a trigger. Node 18 or later, no dependency.
//
//   WEBHOOK_SECRET=whsec_… node examples/webhook-node/webhook.mjs
//
// and in the channel's rule:
//
//   "triggers": [{"url": "http://127.0.0.1:8090/", "actions": {"join": true, "message": true}, "secret": "whsec_…"}]
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// One whsec_…, or several with spaces between while one is being replaced.
const keys = (process.env.WEBHOOK_SECRET ?? "")
  .split(" ")
  .filter(Boolean)
  .map((secret) => Buffer.from(secret.replace(/^whsec_/, ""), "base64"));
if (keys.length === 0) {
  console.error("WEBHOOK_SECRET is not set");
  process.exit(1);
}

// For a join, false refuses. For a message, false blocks, and anything else is what the others receive.
function decide({ action, client, payload }) {
  if (action === "join") return client.extras.banned !== true;
  if (typeof payload === "string") return moderate(payload);
  if (typeof payload?.text === "string") {
    const text = moderate(payload.text);
    return text === false ? false : { ...payload, text };
  }
  return payload;
}

function moderate(text) {
  if (/buy now/i.test(text)) return false;
  return text.replace(/\b(darn|heck)\b/gi, (word) => "*".repeat(word.length));
}

// The signature of https://www.standardwebhooks.com: an HMAC-SHA256 of id, time and body.
function verified(headers, body) {
  const id = headers["webhook-id"];
  const time = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(time)) < 300)) return false;
  const given = (headers["webhook-signature"] ?? "").split(" ").map((s) => Buffer.from(s));
  return keys.some((key) => {
    const mac = createHmac("sha256", key).update(`${id}.${time}.`).update(body).digest("base64");
    const want = Buffer.from(`v1,${mac}`);
    return given.some((s) => s.length === want.length && timingSafeEqual(s, want));
  });
}

const server = createServer(async (request, response) => {
  const answer = (status, value) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  };
  try {
    const chunks = [];
    let size = 0;
    for await (const chunk of request) {
      size += chunk.length;
      if (size > 1 << 20) return answer(413, { message: "body is too large" });
      chunks.push(chunk);
    }
    const body = Buffer.concat(chunks);
    if (!verified(request.headers, body)) return answer(401, { message: "signature does not fit" });
    answer(200, decide(JSON.parse(body)));
  } catch (error) {
    console.error(error);
    answer(500, { message: "internal error" });
  }
});

const [host, port] = (process.env.LISTEN ?? "127.0.0.1:8090").split(":");
server.listen(Number(port), host, () => {
  console.log(`listening on http://${server.address().address}:${server.address().port}/`);
});
