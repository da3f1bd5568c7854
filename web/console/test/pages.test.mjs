// Connect, Inspector and Live on a server where something happens.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, afterEach, before, test } from "node:test";
import { crowdOf, faults, picture, secret, start, token, until } from "./harness.mjs";

const evil = `<img src=x onerror="alert('xss')"><script>alert('xss')</script>`;
let place;
let pages = [];
before(async () => (place = await start({ FANFARE_AUTH_JWT_SECRET: secret })));
after(() => place?.close());
afterEach(async () => {
  const done = pages;
  pages = [];
  for (const page of done) await page.context().close();
  assert.deepEqual(done.flatMap((page) => page.problems), [], "nothing went wrong in the pages");
});
const admin = async (...args) => {
  const page = await place.admin(...args);
  pages.push(page);
  return page;
};
const put = (body) => place.server.api("PUT", "/api:meta/workspace/1/realtime", body, place.server.adminToken);
const rules = [
  { pattern: "room1", anonymous_clients: true, presence: true, client_public_messaging: true, client_private_messaging: true, history: 100 },
  { pattern: "chat", wildcard: true, anonymous_clients: true, presence: true, client_public_messaging: true, history: 100, pattern_join: "anyone" },
  { pattern: "team", client_authenticated_messaging: true, presence: true },
];

const crowd = (list) => crowdOf(place, list);
const frames = (page, text) => page.getByTestId("frame").filter({ hasText: text });

test("connect: this server's values, and the curl lines work", async () => {
  await put({ channels: rules });
  const page = await admin("#/1/connect");
  const snippet = (name) => page.locator(".snippet", { hasText: name }).locator("pre").textContent();
  const hash = "demo";
  assert.match(await snippet("JavaScript"), new RegExp(`realtimeConnectionHash: "${hash}"[\\s\\S]*channel\\("room1"`));
  await page.getByText("The SDK always dials wss:// on port 443").waitFor();
  assert.deepEqual(await faults(page), []);
  await picture(page, "connect-light");
  await page.getByRole("tab", { name: "WeWeb" }).click();
  await page.getByText(new URL(place.server.http).host, { exact: true }).waitFor();
  await picture(page, "connect-weweb");
  assert.deepEqual(await faults(page), []);
  await page.getByRole("tab", { name: "Fanfare client" }).click();
  assert.match(await snippet("In a page"), new RegExp(`${place.server.url}"`));
  await page.getByRole("tab", { name: "curl" }).click();
  const run = async (name) => JSON.parse(execFileSync("bash", ["-c", await snippet(name)], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], env: { PATH: process.env.PATH, API_KEY: place.server.apiKey } }));
  assert.ok((await run("Send an event")).id);
  assert.deepEqual((await run("Who is there")).items, []);
  assert.ok(Array.isArray((await run("History")).items));
});

test("inspector: history, presence, live frames, sending as a socket, in private and as the server", async () => {
  await put({ channels: rules });
  await place.server.api("POST", "/api/v1/demo/events", { channel: "room1", data: { kept: true }, store: true });
  const people = await crowd([{ channel: "room1", token: token({ dbo_id: 5, row_id: 17, extras: { name: "Ada" } }), data: { status: "here" } }, { channel: "room1" }]);
  const page = await admin("#/1/inspector");
  await page.getByLabel("Channel", { exact: true }).fill("room1");
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByText(/this socket is/).waitFor();
  await frames(page, '"kept": true').getByText("from history").waitFor();
  await page.getByText("Ada, user 17", { exact: true }).first().waitFor();
  await page.getByText("(this socket)").waitFor();
  await people.send(0, { text: "from Ada", n: 1 });
  const row = frames(page, "from Ada");
  await row.getByText("offset").waitFor();
  assert.match(await row.textContent(), /message.*Ada, user 17.*id.*offset/s);

  await page.getByLabel("JSON").fill('{"text": "from the console"}');
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("Message accepted").first().waitFor();
  await frames(page, "from the console").getByText("anonymous").waitFor();
  const to = page.getByLabel("To", { exact: true });
  await to.selectOption(await to.locator("option", { hasText: "Ada" }).getAttribute("value"));
  await page.getByLabel("JSON").fill('"only for Ada"');
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await until(async () => (await people.heard(0)).includes("only for Ada"), "the private message");
  assert.ok(!(await people.heard(1)).includes("only for Ada"));
  await page.getByLabel("JSON").fill("nonsense");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("This is not JSON.").waitFor();
  await page.getByLabel("To", { exact: true }).selectOption({ label: "Signed-in users" });
  await page.getByLabel("JSON").fill("1");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.locator("form").getByText("authenticated_only").waitFor();
  await page.getByLabel("Send as").selectOption("server");
  await page.getByLabel("JSON").fill('{"text": "an event"}');
  await page.getByRole("switch", { name: "Keep it in the history" }).click();
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText(/Stored at offset/).first().waitFor();
  await frames(page, "an event").locator(".act.event").waitFor();

  await page.getByRole("button", { name: "Pause" }).click();
  await people.send(1, "while paused");
  await page.waitForTimeout(400);
  assert.equal(await frames(page, "while paused").count(), 0);
  await page.getByRole("button", { name: "Go on" }).click();
  await frames(page, "while paused").waitFor();
  await page.getByLabel("Filter frames").fill("from ada");
  assert.equal(await page.getByTestId("frame").count(), 1);
  await page.getByLabel("Filter frames").fill("");
  await page.waitForTimeout(300);
  await picture(page, "inspector-light");
  assert.deepEqual(await faults(page), []);
  await people.close();
  await page.getByText("Ada, user 17", { exact: true }).waitFor({ state: "detached" }).catch(() => undefined);
});

test("inspector: a pattern, a user's token, a refusal, looking as the server", async () => {
  await put({ channels: rules });
  const people = await crowd([{ channel: "chat/sports" }]);
  const page = await admin("#/1/inspector/" + encodeURIComponent("chat/*"));
  assert.equal(await page.getByLabel("Channel", { exact: true }).inputValue(), "chat/*");
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByText(/this socket is/).waitFor();
  await people.send(0, "goal");
  await frames(page, "goal").getByText("chat/sports").waitFor();
  await page.getByRole("button", { name: "Close", exact: true }).click();
  await page.getByLabel("Channel", { exact: true }).fill("team");
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByText(/anonymous_denied|Anonymous clients cannot join/).first().waitFor();
  await page.getByLabel("As", { exact: true }).selectOption("token");
  await page.getByLabel("Token").fill(token({ dbo_id: 5, row_id: 18, extras: {} }));
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByText(/this socket is/).waitFor();
  await page.getByText("user 18 (this socket)").waitFor();
  await page.getByRole("button", { name: "Close", exact: true }).click();
  await page.getByLabel("Channel", { exact: true }).fill("chat/sports");
  await page.getByRole("button", { name: "Presence, as the server" }).click();
  await page.locator(".member").waitFor();
  await page.getByRole("button", { name: "History, as the server" }).click();
  await frames(page, "goal").waitFor();
  await people.close();
});

test("explainer: who may what, and why not", async () => {
  await put({ channels: rules });
  const page = await admin("#/1/inspector");
  await page.getByLabel("Channel", { exact: true }).fill("team");
  const verdict = page.getByTestId("verdict");
  await verdict.getByText("No", { exact: true }).waitFor();
  await verdict.getByText(/An anonymous client may not join this channel.*anonymous_clients: false/).waitFor();
  await page.getByLabel("Who", { exact: true }).selectOption("true");
  await verdict.getByText("Yes", { exact: true }).waitFor();
  await page.getByLabel("Wants to").selectOption("send_private");
  await verdict.getByText(/client_private_messaging: false/).waitFor();
  await page.getByLabel("Channel", { exact: true }).fill("nowhere");
  await verdict.getByText("No rule covers this channel.").waitFor();
  assert.deepEqual(await faults(page), []);
});

test("live: numbers, charts, channels, gateways", async () => {
  await put({ channels: rules });
  const people = await crowd([{ channel: "room1" }, { channel: "room1" }, { channel: "room1" }, { channel: "chat/sports" }, { channel: "chat/tech" }]);
  await people.talk(200);
  const page = await admin("#/1/live");
  const tile = (name) => page.locator(".tile", { hasText: name }).locator("dd");
  await until(async () => (await tile("Sockets").textContent()) === "5", "five sockets");
  await until(async () => (await tile("Channels in use").textContent()) === "3", "three channels");
  await until(async () => parseFloat(await tile("Deliveries").textContent()) > 20, "deliveries");
  await until(async () => / (ms|µs|s)$/.test(await tile("Fan-out, p99").textContent()), "a percentile");
  assert.equal(await tile("Messages lost").textContent(), "0");
  const row = page.getByRole("row", { name: /room1/ });
  assert.equal(await row.getByRole("cell").nth(1).textContent(), "3");
  await until(async () => parseFloat(await row.getByRole("cell").nth(2).textContent()) > 5, "the channel's messages a second");
  assert.equal(await page.locator("canvas").count(), 3);
  await page.getByRole("row", { name: /alive/ }).waitFor();
  await page.waitForTimeout(14_000); // so that there is something to see
  await picture(page, "live-light");
  assert.deepEqual(await faults(page), []);
  await page.getByRole("button", { name: "Use the dark theme" }).click();
  await page.waitForTimeout(300);
  await picture(page, "live-dark");
  assert.deepEqual(await faults(page), []);
  await page.getByLabel("Filter channels").fill("tech");
  await page.getByRole("link", { name: "chat/tech" }).click();
  await page.getByRole("heading", { name: "Inspector" }).waitFor();
  assert.equal(await page.getByLabel("Channel", { exact: true }).inputValue(), "chat/tech");
  await people.close();
});

test("live: the figures of several gateways are put together, and one may go or begin anew", async () => {
  await put({ channels: rules });
  const page = await admin("#/1/connect");
  let [n, gone, anew] = [0, false, 0];
  const bounds = Array.from({ length: 24 }, (_, i) => 0.0001 * 1.6 ** i);
  await page.route("**/console/api/live?*", async (route) => {
    n++;
    await route.fulfill({
      json: {
        gateway: "gw000001", at: new Date().toISOString(), sockets: 5000, channels_total: 200,
        gateways: Array.from({ length: 5 }, (_, i) => ({ id: `gw00000${i}`, addr: "10.0.0.1:8000", state: "alive", started: new Date(0).toISOString(), sockets: gone && i === 4 ? null : 1000 })),
        channels: Array.from({ length: 200 }, (_, i) => ({ channel: `chat/room-${i}`, members: 25 + ((i * 7 + n) % 11), messages: n * 20 * (i % 9) })),
        measures: Array.from({ length: gone ? 4 : 5 }, (_, i) => ({
          gateway: `gw00000${i}`, at: new Date().toISOString(),
          values: { sessions: { "": 1000 + (n % 7) }, publications_total: { "": (n - anew) * 4000 }, deliveries_total: { "": (n - anew) * 20_000 }, evictions_total: { backlog: n - anew } },
          histograms: { fanout_latency_seconds: { "": { count: n * 4000, buckets: bounds.map((b, i) => [b, Math.min(n * 4000, n * 200 * i)]) } }, stage_latency_seconds: {} },
        })),
      },
    });
  });
  await page.getByRole("link", { name: "Live" }).click();
  await page.getByRole("row", { name: /room-199/ }).waitFor({ state: "attached" });
  const tile = (name) => page.locator(".tile", { hasText: name }).locator("dd");
  // Five gateways with 20 000 deliveries a reading each, a reading every two seconds.
  const thousands = async () => Number(/^([\d.]+)k\/s$/.exec(await tile("Deliveries").textContent())?.[1]);
  await until(async () => (await thousands()) > 30 && (await thousands()) < 51, "the sum of the rates");
  const losses = (name) => page.getByRole("row", { name: new RegExp(name) }).getByRole("cell").allTextContents();
  assert.match((await losses("Evictions"))[2], /^\d+$/);
  assert.equal(Number((await losses("Evictions"))[2]) % 5, 0, "of all five");
  gone = true;
  const row = page.getByRole("row", { name: /gw000004/ });
  await row.getByText("no answer").waitFor();
  await page.getByText("4 gateways together; 1 more did not answer").waitFor();
  anew = n;
  await until(async () => n > anew + 2, "readings after a restart");
  assert.ok((await thousands()) < 51, "a counter that went back is no jump");
  // Each gateway's counter goes up by one with each reading, and once back to nothing.
  assert.ok(Number((await losses("Evictions"))[1]) <= 5 * n, "nor are its losses counted twice");
});

test("stored scripts stay text: rules, channel names, extras, payloads, presence data", async () => {
  await put({ channels: [...rules, { pattern: evil, description: evil, anonymous_clients: true, presence: true, client_public_messaging: true, history: 25 }, { pattern: "evil/" + evil, wildcard: true, anonymous_clients: true }] });
  const channel = "chat/" + evil;
  const people = await crowd([{ channel, token: token({ dbo_id: 5, row_id: evil, extras: { name: evil, [evil]: evil } }), data: { [evil]: evil } }]);
  await people.send(0, { [evil]: evil, html: evil });
  const page = await admin("#/1/settings");
  await page.getByRole("button", { name: "Edit " + evil, exact: true }).click();
  await page.getByRole("button", { name: "Close" }).click();
  for (const [where, ready] of [
    ["connect", page.locator(".snippet").first()],
    ["live", page.getByRole("link", { name: channel })],
  ]) {
    await page.goto(`${place.server.http}/console/#/1/${where}`);
    await ready.waitFor();
  }
  await page.getByRole("link", { name: channel }).click();
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByText(/this socket is/).waitFor();
  await frames(page, "html").waitFor();
  await page.getByText(evil).first().waitFor();
  await people.send(0, evil);
  await until(async () => (await page.getByTestId("frame").count()) >= 2, "the second frame");
  // The user's row, the channel and the message's id come back in the answer; gateways and reasons could be hostile too.
  await page.route("**/connections?*", async (route) => {
    const answer = await (await route.fetch()).json();
    for (const c of answer.items) {
      c.left.push({ ...c.channels[0], channel, why: evil, left: c.connected });
      answer.items = [c, { ...c, socketId: evil, gateway: evil, state: "closed", reason: evil, closed: c.connected, permissions: { dbo_id: 5, row_id: evil } }];
    }
    answer.unanswered = [evil];
    await route.fulfill({ json: answer });
  });
  await frames(page, "html").getByRole("button", { name: /Who got it/ }).click();
  await page.getByTestId("socket").filter({ hasText: evil }).first().waitFor();
  await page.getByLabel("Whose sockets").selectOption("user");
  await page.getByLabel("User (row_id)").fill(evil);
  await page.getByRole("button", { name: "Ask" }).click();
  await page.getByTestId("why").filter({ hasText: `user ${evil}` }).waitFor();
  // Somebody who gets a script into the page all the same: the policy does not let it run.
  assert.equal(await page.evaluate(() => document.querySelectorAll("#root img, #root script, [onerror]").length), 0);
  const headers = (await fetch(place.server.http + "/console/")).headers;
  assert.ok(!headers.get("content-security-policy").includes("unsafe"));
  await people.close();
});

test("how it looks on a phone and in the dark", async () => {
  await put({ channels: rules });
  const people = await crowd([{ channel: "room1", token: token({ dbo_id: 5, row_id: 17, extras: { name: "Ada" } }) }]);
  await people.talk(700);
  const phone = { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
  for (const [name, options] of Object.entries({ phone, dark: { colorScheme: "dark" } })) {
    for (const where of ["connect", "inspector/room1", "live"]) {
      const page = await admin("#/1/" + where, options);
      if (where.startsWith("inspector")) {
        await page.getByRole("button", { name: "Open", exact: true }).click();
        await frames(page, "hello").first().waitFor();
      }
      await page.getByRole("heading", { level: 1 }).waitFor();
      if (where === "live") await page.locator(".tile").first().waitFor();
      await page.waitForTimeout(where === "live" ? 5000 : 400);
      await picture(page, `${where.split("/")[0]}-${name}`);
      assert.deepEqual(await faults(page), [], `${where} ${name}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), where + ": nothing sticks out");
    }
  }
  await people.close();
});
