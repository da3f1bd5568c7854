// The page as the server serves it, in Chromium. DEMO_URL names a running server (http://127.0.0.1:8000);
// otherwise the binary is built and started.
import { chromium } from "playwright-core";
import { Server } from "../../client/test/server/server.mjs";

export async function start() {
  const server = process.env.DEMO_URL ? undefined : await new Server().start();
  const origin = process.env.DEMO_URL?.replace(/\/$/, "") ?? server.http;
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  return {
    origin,
    server,
    browser,
    /** A browser of its own: another person. */
    async person(options = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
      const page = await context.newPage();
      page.problems = [];
      page.on("pageerror", (error) => page.problems.push(String(error)));
      page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
      return page;
    },
    async close() {
      await browser.close();
      await server?.close();
    },
  };
}

let rooms = 0;
/** A channel for one test alone. */
export function room() {
  return `chat/test-${process.pid}-${++rooms}`;
}
