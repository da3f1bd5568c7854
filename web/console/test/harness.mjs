// The console as the server serves it, in Chromium. The binary is built and started, unless FANFARE_BIN names one.
import { createHmac } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Server } from "../../client/test/server/server.mjs";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const pictures = join(import.meta.dirname, "../pictures");
mkdirSync(pictures, { recursive: true });

export const secret = "0123456789abcdef0123456789abcdef";
const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
/** A token for a user, as an application would make it. */
export function token(claims) {
  const body = encode({ alg: "HS256", typ: "JWT" }) + "." + encode({ exp: Math.floor(Date.now() / 1000) + 3600, ...claims });
  return body + "." + createHmac("sha256", secret).update(body).digest("base64url");
}


export async function start(environment = {}) {
  const server = new Server();
  server.environment = environment;
  await server.start();
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  return {
    server,
    browser,
    /** A browser of its own: another person. Nothing may go wrong in the page, and nothing may be blocked by its policy. */
    async person(options = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
      const page = await context.newPage();
      page.setDefaultTimeout(40_000);
      page.problems = [];
      page.on("pageerror", (error) => page.problems.push(String(error)));
      page.on("console", (m) => m.type() === "error" && !/status of (401|409|400|429)/.test(m.text()) && page.problems.push(m.text()));
      page.on("dialog", (dialog) => (page.problems.push("a dialog: " + dialog.message()), dialog.dismiss()));
      return page;
    },
    /** Somebody who has signed in. */
    async admin(place = "#/1/settings", options = {}) {
      const page = await this.person(options);
      await page.goto(server.http + "/console/" + place);
      await page.getByLabel("Admin token").fill(server.adminToken);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("navigation", { name: "Pages" }).waitFor();
      return page;
    },
    async close() {
      await browser.close();
      await server.close();
    },
  };
}

export const picture = (page, name) => page.screenshot({ path: join(pictures, name + ".png") });

/** What axe finds that is serious or critical. */
export async function faults(page) {
  await page.evaluate(() => Promise.all(document.getAnimations().filter((a) => a.effect?.getComputedTiming().iterations !== Infinity).map((a) => a.finished.catch(() => undefined))));
  // Over the protocol: the page's own policy would not let the script in as an element.
  await page.evaluate(axeSource + "; undefined");
  return page.evaluate(async () => {
    const found = await globalThis.axe.run(document, { resultTypes: ["violations"] });
    return found.violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => `${v.id}: ${v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")}`);
  });
}

/** Asks until the answer is right. */
export async function until(ask, what, limit = 40_000) {
  const end = Date.now() + limit;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error("never: " + what);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** People on channels, in a page of their own: the browser client, as everybody would use it. */
export async function crowdOf(place, list) {
  const page = await place.person();
  await page.goto(place.server.http + "/client.js");
  await page.evaluate(
    async ({ url, list }) => {
      const { Fanfare } = await import("/client.js");
      globalThis.rooms = [];
      globalThis.got = [];
      globalThis.clients = [];
      for (const { channel, token, data } of list) {
        const fanfare = new Fanfare({ url, ...(token ? { token } : {}) });
        clients.push(fanfare);
        const room = fanfare.channel(channel, { presence: true });
        const heard = [];
        got.push(heard);
        room.on("message", (frame) => heard.push(frame.payload));
        await room.open();
        if (data) room.setPresence(data);
        rooms.push(room);
      }
    },
    { url: place.server.url, list },
  );
  return {
    send: (i, payload) => page.evaluate(([i, payload]) => rooms[i].send(payload), [i, payload]),
    heard: (i) => page.evaluate((i) => got[i], i),
    /** Everybody talks until the page closes. */
    talk: (every) =>
      page.evaluate((every) => rooms.forEach((room, i) => setTimeout(() => setInterval(() => room.send({ text: "hello", from: i }).catch(() => undefined), every), (i * every) / rooms.length)), every),
    /** One of them ends its connection, and comes back. */
    leave: (i) => page.evaluate((i) => clients[i].close(), i),
    close: () => page.context().close(),
  };
}
