// The client in Chromium against the real server, through a proxy: what only a browser has, a page that is reloaded and
// several connections of one page.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Proxy } from "../proxy.mjs";
import { Server } from "../server/server.mjs";
import { until } from "../tools.mjs";

const secret = "a-secret-of-at-least-thirty-two-bytes-for-tests";
let server, proxy, browser;
before(async () => {
  server = new Server();
  server.environment = { FANFARE_AUTH_JWT_SECRET: secret };
  await server.start();
  proxy = await new Proxy(server.port).listen();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});
after(async () => {
  await browser?.close();
  await proxy?.close();
  await server?.close();
});
function token(claims, seconds = 3600) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const head = part({ alg: "HS256", typ: "JWT" }) + "." + part({ exp: Math.floor(Date.now() / 1000) + seconds, ...claims });
  return head + "." + createHmac("sha256", secret).update(head).digest("base64url");
}
const through = () => `ws://127.0.0.1:${proxy.port}/rt/demo`;
/** A page of the server's own origin, which has the client. */
async function load(page) {
  await page.goto(server.http + "/client.js");
  await page.evaluate(async () => Object.assign(window, await import("/client.js")));
}

test("what was sent offline outlives two reloads, and arrives once and in order", async () => {
  const page = await (await browser.newContext()).newPage();
  const open = async () => {
    await load(page);
    await page.evaluate((url) => {
      window.fanfare = new Fanfare({ url, backoff: { min: 20, max: 100 } });
      window.room = fanfare.channel("chat/offline", { queue: "persistent" });
      window.room.open();
    }, through());
  };
  await open();
  await page.evaluate(() => room.send("online"));
  proxy.down = true;
  proxy.cut();
  await page.waitForFunction(() => fanfare.status.state !== "connected");
  for (const round of [1, 2]) {
    await page.evaluate((round) => void [1, 2, 3].forEach((n) => room.send(`${round}-${n}`)), round);
    await page.waitForFunction((n) => room.pending().length === n, round * 3);
    // Kept, not only remembered: as many as there are in IndexedDB.
    await page.waitForFunction(
      (n) =>
        new Promise((done) => {
          const request = indexedDB.open("fanfare", 1);
          request.onsuccess = () => {
            const all = request.result.transaction("messages").objectStore("messages").count();
            all.onsuccess = () => (request.result.close(), done(all.result === n));
          };
        }),
      round * 3,
    );
    await open();
    await page.waitForFunction((n) => room.pending().length === n, round * 3);
  }
  proxy.down = false;
  await until(async () => (await server.history("chat/offline")).length === 7, "all seven");
  await page.waitForFunction(() => room.pending().length === 0);
  assert.deepEqual((await server.history("chat/offline")).map((f) => f.payload), ["online", "1-1", "1-2", "1-3", "2-1", "2-2", "2-3"]);
  await page.context().close();
});

test("two users and a guest on one page: identities, presence data and patterns are kept apart", async () => {
  const page = await (await browser.newContext()).newPage();
  await load(page);
  const seen = await page.evaluate(
    async ({ url, ada, grace }) => {
      const make = (token) => new Fanfare({ url, backoff: { min: 20, max: 100 }, ...(token ? { token } : {}) });
      const [one, two, three] = [make(ada), make(grace), make()];
      const rooms = [one, two].map((f) => f.channel("chat/page", { presence: true }));
      const all = three.channel("chat/*", { presence: true });
      const got = [[], [], []];
      [...rooms, all].forEach((room, i) => room.on("message", (f) => got[i].push([f.options.channel, f.options.source ?? null, f.client.permissions.row_id, f.payload])));
      await Promise.all([...rooms, all].map((room) => room.open()));
      rooms[0].setPresence({ typing: true });
      await rooms[0].send("from Ada");
      await rooms[1].send("from Grace");
      const settled = async (ok) => {
        for (const end = Date.now() + 30_000; !ok() && Date.now() < end; ) await new Promise((done) => setTimeout(done, 20));
      };
      await settled(() => got.every((list) => list.length === 2) && all.presence().some((m) => m.data?.typing) && all.presence().length === 2);
      const list = all.presence().map((m) => [m.permissions.row_id, m.source, m.data?.typing ?? false]).sort();
      two.close();
      await settled(() => all.presence().length === 1);
      await rooms[0].send("after");
      await settled(() => got[2].length === 3);
      const result = { got, list, left: all.presence().length, sockets: new Set([rooms[0].self.socketId, rooms[1].self?.socketId, all.self.socketId]).size };
      one.close();
      three.close();
      return result;
    },
    { url: through(), ada: token({ dbo_id: 1, row_id: 17 }), grace: token({ dbo_id: 1, row_id: 18 }) },
  );
  const both = [["from Ada", 17], ["from Grace", 18]];
  assert.deepEqual(seen.got[0].slice(0, 2), both.map(([text, row]) => ["chat/page", null, row, text]));
  assert.deepEqual(seen.got[1], both.map(([text, row]) => ["chat/page", null, row, text]), "closed before the last one");
  assert.deepEqual(seen.got[2], [...both, ["after", 17]].map(([text, row]) => ["chat/*", "chat/page", row, text]));
  assert.deepEqual(seen.list, [[17, "chat/page", true], [18, "chat/page", false]]);
  assert.equal(seen.left, 1);
  await page.context().close();
});

test("the token callback is asked before the token runs out; who the page is never changes", async () => {
  const page = await (await browser.newContext()).newPage();
  await load(page);
  let asked = 0;
  await page.exposeFunction("freshToken", () => token({ dbo_id: 1, row_id: 21 }, asked++ ? 3600 : 8));
  const rows = await page.evaluate(async (url) => {
    const fanfare = new Fanfare({ url, token: () => freshToken(), refreshBefore: 5000, backoff: { min: 20, max: 100 } });
    const room = fanfare.channel("chat/token");
    const rows = [];
    room.on("message", (f) => rows.push([f.payload, f.client.permissions.row_id]));
    await room.open();
    const first = room.self.socketId;
    let n = 0;
    while (room.self.socketId === first || !room.joined) {
      await room.send(n++);
      await new Promise((done) => setTimeout(done, 50));
    }
    await room.send(n++);
    while (rows.length < n) await new Promise((done) => setTimeout(done, 20));
    fanfare.close();
    return rows;
  }, through());
  assert.deepEqual(rows, rows.map((_, n) => [n, 21]));
  assert.equal(asked, 2);
  await page.context().close();
});
