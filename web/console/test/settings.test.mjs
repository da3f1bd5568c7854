// Sign-in and settings, as people use them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { faults, picture, start, until } from "./harness.mjs";

let place;
let pages = [];
before(async () => (place = await start()));
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
const workspace = (id = 1) => place.server.api("GET", `/api:meta/workspace/${id}/realtime`, undefined, place.server.adminToken).then((a) => a.body);
const put = (body, id = 1) => place.server.api("PUT", `/api:meta/workspace/${id}/realtime`, body, place.server.adminToken);
const ruleOf = async (pattern, id) => (await workspace(id)).channels.find((r) => r.pattern === pattern);
const sheet = (page) => page.locator(".sheet[role=dialog]");

test("sign-in: a wrong token, the right one, a reload, sign-out; the token is in no URL and no storage", async () => {
  const page = await place.person();
  pages.push(page);
  const urls = [];
  page.on("request", (r) => urls.push(r.url()));
  await page.goto(place.server.http + "/console/");
  await page.getByLabel("Admin token").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("This is not the admin token.").waitFor();
  assert.deepEqual(await faults(page), []);
  await picture(page, "sign-in");
  await page.getByLabel("Admin token").fill(place.server.adminToken);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Realtime is on" }).waitFor();
  const began = Date.now();
  await page.reload();
  await page.getByRole("heading", { name: "Realtime is on" }).waitFor();
  console.log(`first view after ${Date.now() - began} ms`);
  const cookie = (await page.context().cookies()).find((c) => c.name === "fanfare_console");
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Strict");
  assert.equal(cookie.path, "/console/");
  assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie), await page.evaluate(() => JSON.stringify({ ...localStorage })));
  assert.ok(!urls.join().includes(place.server.adminToken));
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin token").waitFor();
  // The old cookie is of no use any more.
  const answer = await fetch(place.server.http + "/console/api/session", { headers: { "X-Fanfare-Console": "1", cookie: `fanfare_console=${cookie.value}` } });
  assert.equal(answer.status, 401);
});

test("a channel: every field, the sentence, what is stored", async () => {
  const page = await admin();
  await page.getByRole("button", { name: "Add a channel" }).click();
  await page.getByLabel("Channel target").fill("orders/*");
  assert.equal(await page.getByLabel("Channel target").inputValue(), "orders");
  assert.equal(await page.getByRole("switch", { name: "Nested channels" }).isChecked(), true);
  const effect = page.getByTestId("effect");
  const preset = (name) => page.getByRole("button", { name, exact: false });
  for (const [name, text] of [
    ["Public chat", "Anyone may listen, anyone may write."],
    ["Everyone reads, users write", "Anyone may listen, only signed-in users may write."],
    ["Notifications", "Anyone may listen, nobody may write: messages come from your back end."],
    ["Users only Signed-in", "Only signed-in users may listen, they may write to each other."],
    ["Users only + private", "Only signed-in users may listen, they may write to each other; signed-in members may write to one another in private."],
  ]) {
    await preset(name).click();
    await effect.getByText(text).waitFor();
  }
  await preset("Everyone reads, users write").click();
  await page.getByLabel("Description").fill("What happens to orders");
  await page.getByRole("switch", { name: "Presence" }).click();
  await page.getByRole("switch", { name: "Client authenticated messaging" }).click();
  await page.getByRole("switch", { name: "Client private messaging" }).click();
  await page.getByRole("switch", { name: "Between signed-in users only" }).click();
  await page.getByRole("radio", { name: "100", exact: true }).click();
  await page.getByLabel("Age limit in seconds").fill("86400");
  await page.getByRole("radiogroup", { name: "Who may open the pattern itself" }).getByText("Signed-in users").click();
  await page.getByLabel("Messages a minute").fill("30");
  await page.getByRole("button", { name: "Add a webhook" }).click();
  await page.getByRole("textbox", { name: "Address" }).fill("not an address");
  await page.getByRole("switch", { name: "When somebody joins" }).click();
  await page.getByText("Let it through").click();
  await page.getByLabel("Time limit in milliseconds").fill("1500");
  await page.getByRole("button", { name: "Make up a secret" }).click();
  await effect.getByText("The last 100 messages are kept for one day.").waitFor();
  assert.deepEqual(await faults(page), []);
  await page.getByRole("button", { name: "Add the channel" }).click();
  await page.getByRole("alert").waitFor(); // the server says what is wrong
  await page.getByRole("textbox", { name: "Address" }).fill("https://example.com/hook");
  await page.getByRole("button", { name: "Add the channel" }).click();
  await page.getByRole("button", { name: "Edit orders/*" }).waitFor();
  await sheet(page).waitFor({ state: "detached" });
  const { id, triggers, ...rule } = await ruleOf("orders");
  assert.ok(id > 1e12);
  assert.deepEqual(rule, {
    pattern: "orders", description: "What happens to orders", enabled: true, wildcard: true, anonymous_clients: true, presence: true,
    client_public_messaging: true, client_public_messaging_authenticated_only: true, client_authenticated_messaging: true,
    client_private_messaging: true, client_private_messaging_authenticated_only: true, history: 100, history_ttl: 86400,
    pattern_join: "authenticated", rate_limit: 30,
  });
  assert.equal(triggers[0].url, "https://example.com/hook");
  assert.deepEqual(triggers[0].actions, { join: true, message: true });
  assert.equal(triggers[0].on_failure, "allow");
  assert.equal(triggers[0].timeout_ms, 1500);

  // Edit: the masked secret survives. Then off, undo, delete, undo.
  const secret = async () => (await place.server.api("GET", "/api:meta/workspace/1/realtime?include_secrets=true", undefined, place.server.adminToken)).body.channels.find((r) => r.pattern === "orders").triggers[0].secret;
  const before = JSON.stringify(await secret());
  assert.match(before, /whsec_(?!masked)/);
  await page.getByRole("button", { name: "Edit orders/*" }).click();
  await page.getByLabel("Description").fill("Orders");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await until(async () => (await ruleOf("orders")).description === "Orders", "the new description");
  assert.equal(JSON.stringify(await secret()), before);
  await sheet(page).waitFor({ state: "detached" });
  await page.getByRole("switch", { name: "orders/* is enabled" }).click();
  await page.getByRole("button", { name: "Undo: orders/* is off" }).click();
  await until(async () => (await ruleOf("orders")).enabled, "enabled again");
  await page.getByRole("switch", { name: "orders/* is enabled", checked: true }).waitFor(); // the page has it too: its next change is one of this
  await page.getByRole("button", { name: "Edit orders/*" }).click();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Delete the channel" }).click();
  await page.getByRole("button", { name: "Edit orders/*" }).waitFor({ state: "detached" });
  assert.equal(await ruleOf("orders"), undefined);
  await page.getByRole("button", { name: "Undo: orders/* deleted" }).click();
  await page.getByRole("button", { name: "Edit orders/*" }).waitFor();
  assert.equal(JSON.stringify(await secret()), before);
  assert.equal((await ruleOf("orders")).id, id);
});

test("two people edit the same channel: told, merged; another channel does not matter; an undo never takes back what others did", async () => {
  await put({ channels: [{ pattern: "shared", description: "first" }, { pattern: "other" }] });
  const page = await admin();
  await page.getByRole("button", { name: "Edit shared" }).click();
  await page.getByLabel("Description").fill("mine");
  const rules = (await workspace()).channels;
  const other = rules.find((r) => r.pattern === "other");
  // Only the first answer after the change is a 200, and it may come before that to our PUT.
  const noticed = page.waitForResponse((r) => r.url().endsWith("/realtime") && r.status() === 200);
  await put({ channels: rules.map((r) => (r.id === other.id ? { ...r, presence: true } : r)) });
  await noticed;
  assert.equal(await page.getByText("Somebody else").count(), 0);
  await put({ channels: (await workspace()).channels.map((r) => (r.pattern === "shared" ? { ...r, history: 50, description: "theirs" } : r)) });
  // Saved before the page could notice, or after: it is told either way.
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByText("Somebody else changed this channel while you were editing it.").waitFor();
  await page.getByText("you have mine").waitFor();
  await picture(page, "conflict");
  assert.deepEqual(await faults(page), []);
  await page.getByRole("button", { name: "Keep my changes on top" }).click();
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await until(async () => (await ruleOf("shared")).description === "mine", "my description");
  assert.equal((await ruleOf("shared")).history, 50);
  await put({ channels: (await workspace()).channels.map((r) => (r.pattern === "shared" ? { ...r, history: 25 } : r)) });
  await page.getByRole("button", { name: "Undo: shared saved" }).click();
  await page.getByText("Somebody else has changed the settings since.").first().waitFor();
  assert.equal((await ruleOf("shared")).history, 25);
});

test("status and hash: the warning names the sockets that drop", async () => {
  const page = await admin();
  const hash = (await workspace()).hash;
  const guest = await place.person();
  await guest.goto(place.server.http + "/client.js");
  await guest.evaluate(async (url) => {
    globalThis.codes = [];
    for (let i = 0; i < 3; i++) {
      const socket = new WebSocket(url);
      socket.onclose = (e) => codes.push(e.code);
      await new Promise((done) => (socket.onopen = done));
    }
  }, `${place.server.http.replace("http", "ws")}/rt/${hash}`);
  await page.getByRole("button", { name: "Rotate" }).click();
  await page.getByText("3 open sockets").waitFor();
  await picture(page, "rotate");
  assert.deepEqual(await faults(page), []);
  await page.getByRole("alertdialog").getByRole("button", { name: "Cancel" }).click();
  assert.equal((await workspace()).hash, hash);
  await page.getByRole("button", { name: "Rotate" }).click();
  await page.getByRole("button", { name: "Rotate the hash" }).click();
  await until(() => guest.evaluate(() => codes.join() === "4401,4401,4401"), "the sockets are told to go away");
  const next = (await workspace()).hash;
  assert.match(next, /^[A-Za-z0-9_-]{27}$/);
  await guest.context().close();
  await page.getByTestId("hash").getByText(next).waitFor();
  await page.getByRole("link", { name: "Connect" }).click(); // the undo is still there afterwards
  await page.getByRole("heading", { name: "Connect" }).waitFor();
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByRole("button", { name: "Undo: Connection hash rotated" }).click();
  await page.getByTestId("hash").getByText(hash).waitFor();
  await page.getByRole("switch", { name: "Realtime" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Turn off" }).click();
  await page.getByRole("heading", { name: "Realtime is off" }).waitFor();
  assert.equal((await workspace()).enabled, false);
  await page.getByRole("switch", { name: "Realtime" }).click();
  await page.getByRole("heading", { name: "Realtime is on" }).waitFor();
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy connection hash" }).click();
  await page.getByText("Connection hash copied").first().waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), hash);
});

test("several realtime servers: add, rename, strict, delete", async () => {
  const page = await admin();
  const pick = async (name) => {
    await page.getByRole("button", { name: /Realtime server/ }).click();
    await page.getByRole("menuitem", { name }).click();
  };
  await pick("Add a realtime server");
  await page.getByRole("textbox", { name: "Name" }).fill("Shop floor");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByRole("heading", { name: "Shop floor" }).waitFor();
  const list = (await place.server.api("GET", "/api:meta/workspace", undefined, place.server.adminToken)).body.items;
  const { id } = list.find((s) => s.name === "Shop floor");
  await page.getByRole("switch", { name: "Keep what signed-in users write among them" }).click();
  await until(async () => (await workspace(id)).strict, "strict");
  await page.getByRole("button", { name: "Rename" }).click();
  await page.getByRole("textbox", { name: "Name" }).fill("Warehouse");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "Warehouse", level: 1 }).waitFor();
  await page.getByRole("button", { name: "Undo: Server renamed" }).click();
  await page.getByRole("heading", { name: "Shop floor", level: 1 }).waitFor();
  await pick("Demo");
  await page.getByRole("heading", { name: "Demo", level: 1 }).waitFor();
  await pick("Shop floor");
  await page.getByRole("button", { name: "Delete this server" }).click();
  const yes = page.getByRole("button", { name: "Delete the server" });
  assert.equal(await yes.isDisabled(), true);
  await page.getByLabel(/Type Shop floor/).fill("Shop floor");
  await yes.click();
  await page.getByRole("heading", { name: "Demo", level: 1 }).waitFor();
});

test("export and import", async () => {
  await put({ channels: [{ pattern: "room1", presence: true }, { pattern: "chat", wildcard: true, history: 100 }] });
  const page = await admin();
  await page.getByRole("button", { name: "Import / export" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
  assert.equal(download.suggestedFilename(), "fanfare-demo.json");
  const file = JSON.parse(readFileSync(await download.path(), "utf8"));
  assert.deepEqual(file, await workspace());
  await page.getByLabel("Or as text").fill("{");
  await page.getByText("This is not JSON").waitFor();
  file.channels = [{ ...file.channels.find((r) => r.pattern === "chat"), history: 250 }, { pattern: "news/*", anonymous_clients: true }];
  await page.getByLabel("From a file").setInputFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(file)) });
  const plan = page.getByTestId("plan");
  await plan.getByText("news/*").waitFor();
  assert.equal(await plan.getByText("room1").count(), 0);
  await page.getByRole("switch", { name: "Remove channels that are not in it" }).click();
  await plan.getByText("room1").waitFor();
  await picture(page, "import");
  assert.deepEqual(await faults(page), []);
  const old = await ruleOf("chat");
  await page.getByRole("button", { name: "Import", exact: true }).click();
  await page.getByRole("button", { name: "Edit news/*" }).waitFor();
  const now = await workspace();
  assert.deepEqual(now.channels.map((r) => r.pattern).sort(), ["chat", "news"]);
  assert.equal((await ruleOf("chat")).history, 250);
  assert.equal((await ruleOf("chat")).id, old.id);
  await page.getByRole("button", { name: "Undo: Settings imported" }).click();
  await page.getByRole("button", { name: "Edit room1" }).waitFor();
});

test("by keyboard alone: menu, dialog, switch, and back to where one was", async () => {
  const page = await admin();
  await page.getByRole("button", { name: "Edit room1" }).focus();
  await page.keyboard.press("Enter");
  await sheet(page).waitFor();
  const presence = page.getByRole("switch", { name: "Presence" });
  await presence.focus();
  const was = await presence.isChecked();
  await page.keyboard.press("Space");
  assert.equal(await presence.isChecked(), !was);
  for (let i = 0; i < 60; i++) await page.keyboard.press("Tab"); // the focus stays inside
  assert.ok(await page.evaluate(() => !!document.activeElement?.closest("[role=dialog]")));
  await page.keyboard.press("Escape");
  await sheet(page).waitFor({ state: "detached" });
  await until(() => page.evaluate(() => document.activeElement?.getAttribute("aria-label") === "Edit room1"), "focus is back");
  await page.getByRole("button", { name: /Realtime server/ }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("menuitem").first().waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Escape");
});

test("how it looks: light, dark, phone; no serious finding", async () => {
  await put({
    channels: [
      { pattern: "room1", description: "The lobby: everybody may do everything", anonymous_clients: true, presence: true, client_public_messaging: true, client_private_messaging: true, history: 100 },
      { pattern: "chat", wildcard: true, description: "Support conversations", anonymous_clients: true, presence: true, client_public_messaging: true, history: 250, pattern_join: "authenticated" },
      { pattern: "orders", wildcard: true, description: "What happens to an order, from the shop's back end", anonymous_clients: true, history: 25 },
      { pattern: "team", description: "Internal", client_authenticated_messaging: true, client_private_messaging: true, client_private_messaging_authenticated_only: true, presence: true, history: 1000, history_ttl: 604800, triggers: [{ url: "https://example.com/rt", actions: { message: true } }] },
      { pattern: "old-news", enabled: false, client_public_messaging_authenticated_only: true },
    ],
  });
  for (const [name, options] of Object.entries({
    light: { colorScheme: "light" },
    dark: { colorScheme: "dark" },
    phone: { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  })) {
    const page = await admin("#/1/settings", options);
    await page.getByRole("button", { name: "Edit team" }).waitFor();
    await picture(page, `settings-${name}`);
    assert.deepEqual(await faults(page), [], name);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
    await page.getByRole("button", { name: "Edit chat/*" }).click();
    await sheet(page).waitFor();
    await page.waitForTimeout(300);
    await picture(page, `channel-${name}`);
    assert.deepEqual(await faults(page), [], name);
  }
});
