// The live page while 5000 real sockets on 200 busy channels are connected to a real server: npm run test:live. It says how
// long the browser's frames took, and fails when the page does not show what there is, or keeps its thread busy.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { start, until } from "../harness.mjs";

const [sockets, channels, seconds] = [Number(process.env.SOCKETS ?? 5000), 200, 15];
const place = await start({ FANFARE_LIMITS_UPGRADES_PER_SECOND: "0" });
const crowd = spawn(process.execPath, [join(import.meta.dirname, "sockets.mjs"), String(place.server.port), String(sockets), String(channels)], { stdio: ["pipe", "pipe", "inherit"] });
let going = true;
try {
  const words = createInterface({ input: crowd.stdout });
  const began = Date.now();
  const [ready] = await once(words, "line");
  assert.equal(ready, `ready ${sockets}`);
  console.log(`${sockets} sockets joined within ${((Date.now() - began) / 1000).toFixed(1)} s`);
  let got = 0;
  words.on("line", (line) => (got += Number(line.split(" ")[1])));

  // Every channel hears two events a second.
  const talk = (async () => {
    for (let n = 0; going; n++) {
      const events = Array.from({ length: channels }, (_, i) => ({ channel: `chat/room-${i}`, data: { n } }));
      const answer = await place.server.api("POST", "/api/v1/demo/events/batch", { events });
      assert.equal(answer.status, 200);
      await new Promise((done) => setTimeout(done, 500));
    }
  })();

  const page = await place.admin("#/1/live");
  const tile = (name) => page.locator(".tile", { hasText: name }).locator("dd").textContent();
  await until(async () => (await tile("Sockets")) === sockets.toLocaleString("en"), "all sockets are shown");
  await until(async () => (await tile("Channels in use")) === String(channels), "all channels are shown");
  await until(async () => !["–", "0/s"].includes(await tile("Deliveries")), "deliveries");
  const before = got;
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const spent = async () => (await devtools.send("Performance.getMetrics")).metrics.find((m) => m.name === "ThreadTime").value;
  const idle = await spent();
  const times = await page.evaluate(
    (seconds) =>
      new Promise((done) => {
        const times = [];
        const end = performance.now() + seconds * 1000;
        let last = performance.now();
        const next = (now) => (times.push(now - last), (last = now), now < end ? requestAnimationFrame(next) : done(times));
        requestAnimationFrame(next);
      }),
    seconds,
  );
  const busy = (await spent()) - idle;
  times.sort((x, y) => x - y);
  const at = (p) => times[Math.floor(p * (times.length - 1))];
  console.log(`frames: ${times.length} in ${seconds} s, p50 ${at(0.5).toFixed(1)} ms, p95 ${at(0.95).toFixed(1)} ms, p99 ${at(0.99).toFixed(1)} ms, longest ${at(1).toFixed(1)} ms; the page's thread ran for ${busy.toFixed(2)} s`);
  console.log(`deliveries: ${Math.round((got - before) / seconds)}/s at the sockets, ${await tile("Deliveries")} on the page; fan-out p99 ${await tile("Fan-out, p99")}`);
  assert.ok(got - before > sockets, "the channels are busy");
  assert.equal(await page.getByRole("row", { name: /room-\d/ }).count(), channels);
  // By the processor's clock: how long a frame takes says as much about what else the machine has to do.
  assert.ok(busy < seconds / 4, `the page's thread ran for ${busy.toFixed(2)} of ${seconds} s`);
  assert.deepEqual(page.problems, []);
  going = false;
  await talk;
} finally {
  going = false;
  crowd.stdin.end();
  await place.close();
}
