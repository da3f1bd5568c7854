// The persistent queue where it really lives: IndexedDB and Web Locks of Chromium, over reloads and several tabs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { FakeServer } from "../fake.mjs";
import { until } from "../tools.mjs";

let server, web, browser, origin;
before(async () => {
  server = await new FakeServer().listen();
  const client = readFileSync(join(import.meta.dirname, "../../dist/fanfare.js"));
  web = createServer((request, response) => {
    const script = request.url === "/client.js";
    response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html" });
    response.end(script ? client : "<!doctype html><title>client</title>");
  });
  await new Promise((done) => web.listen(0, "127.0.0.1", done));
  origin = `http://127.0.0.1:${web.address().port}`;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});
after(async () => {
  await browser?.close();
  web?.closeAllConnections();
  web?.close();
  await server?.close();
});

/** Loads the client into the page and opens the channel. */
async function open(page, channel) {
  await page.goto(origin);
  await page.evaluate(
    async ([url, name]) => {
      const { Fanfare } = await import("/client.js");
      window.fanfare = new Fanfare({ url, backoff: { min: 10, max: 50 } });
      window.room = window.fanfare.channel(name, { queue: "persistent" });
      window.errors = [];
      window.room.on("error", ({ payload }) => window.errors.push(payload.code));
      window.room.open();
    },
    [server.url, channel],
  );
}
const send = (page, ...payloads) => page.evaluate((list) => void list.forEach((payload) => window.room.send(payload)), payloads);
const pending = (page) => page.evaluate(() => window.room.pending().map(({ payload }) => payload));
/** What IndexedDB holds, whoever it belongs to. */
const stored = (page) =>
  page.evaluate(
    () =>
      new Promise((done, fail) => {
        const request = indexedDB.open("fanfare", 1);
        request.onerror = () => fail(request.error);
        request.onsuccess = () => {
          const all = request.result.transaction("messages").objectStore("messages").getAll();
          all.onsuccess = () => {
            request.result.close();
            done(all.result.map(({ message }) => message.payload));
          };
        };
      }),
  );

test("messages survive a reload, and a second tab does not take them", async () => {
  const context = await browser.newContext();
  server.onUpgrade = () => 503;
  const [one, two] = [await context.newPage(), await context.newPage()];
  await open(one, "tabs");
  await open(two, "tabs");
  await send(one, "one-1", "one-2");
  await send(two, "two-1");
  await until(async () => (await stored(one)).length === 3);
  assert.deepEqual(await pending(one), ["one-1", "one-2"]);
  assert.deepEqual(await pending(two), ["two-1"]);

  await open(one, "tabs"); // a reload: the same tab, a new page
  await send(one, "one-3");
  await until(async () => (await pending(one)).length === 3);
  assert.deepEqual(await pending(one), ["one-1", "one-2", "one-3"]);
  assert.deepEqual(await pending(two), ["two-1"], "its page is still there");

  server.onUpgrade = () => undefined;
  await until(() => server.payloads("tabs").length === 4);
  await until(async () => (await stored(one)).length === 0);
  await new Promise((done) => setTimeout(done, 100));
  const payloads = server.payloads("tabs");
  assert.deepEqual(payloads.filter((text) => text.startsWith("one")), ["one-1", "one-2", "one-3"]);
  assert.equal(payloads.length, 4);
  assert.deepEqual([...(await one.evaluate(() => window.errors)), ...(await two.evaluate(() => window.errors))], []);
  await context.close();
});

test("of several new tabs only one takes what a closed one left", async () => {
  const context = await browser.newContext();
  server.onUpgrade = () => 503;
  const gone = await context.newPage();
  await open(gone, "orphans");
  await send(gone, 1, 2, 3);
  await until(async () => (await stored(gone)).length === 3);
  await gone.close();
  const tabs = await Promise.all(Array.from({ length: 4 }, () => context.newPage()));
  await Promise.all(tabs.map((tab) => open(tab, "orphans")));
  const queues = async () => Promise.all(tabs.map(pending));
  await until(async () => (await queues()).some((queue) => queue.length === 3));
  assert.deepEqual((await queues()).flat(), [1, 2, 3]);
  server.onUpgrade = () => undefined;
  await until(async () => (await stored(tabs[0])).length === 0);
  assert.deepEqual(server.payloads("orphans"), [1, 2, 3]);
  await context.close();
});

test("a page killed between sending and acknowledgement does not send twice", async () => {
  const context = await browser.newContext();
  server.onUpgrade = () => undefined;
  const page = await context.newPage();
  await open(page, "killed");
  await page.evaluate(() => window.room.send("before"));
  server.onFrame = (session, frame) => {
    if (frame.action !== "message") return false;
    session.send = () => {};
    session.handle(frame);
    return true;
  };
  await send(page, "once");
  await until(() => server.payloads("killed").length === 2);
  await until(async () => (await stored(page)).length === 1);
  await page.close();
  server.onFrame = () => false;
  const again = await context.newPage();
  await open(again, "killed");
  await again.evaluate(() => window.room.send("after"));
  assert.deepEqual(server.payloads("killed"), ["before", "once", "after"]);
  await context.close();
});

test("many messages are kept in order", async () => {
  const context = await browser.newContext();
  server.onUpgrade = () => 503;
  server.rules.history = 1000;
  const page = await context.newPage();
  await open(page, "many");
  const payloads = Array.from({ length: 300 }, (_, n) => n);
  await send(page, ...payloads);
  await until(async () => (await stored(page)).length === 300, "stored");
  await open(page, "many");
  server.onUpgrade = () => undefined;
  await until(() => server.payloads("many").length === 300, "sent");
  await until(async () => (await stored(page)).length === 0, "removed");
  assert.deepEqual(server.payloads("many"), payloads);
  await context.close();
});
