// "Why did this user not get this message?", times of messages, and being a user for a moment.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { crowdOf, faults, picture, secret, start, token, until } from "./harness.mjs";

let place;
let pages = [];
before(async () => {
  place = await start({ FANFARE_AUTH_JWT_SECRET: secret });
  await place.server.api("PUT", "/api:meta/workspace/1/realtime", { channels: rules }, place.server.adminToken);
});
after(() => place?.close());
afterEach(async () => {
  const done = pages;
  pages = [];
  for (const page of done) await page.context().close();
  assert.deepEqual(done.flatMap((page) => page.problems), [], "nothing went wrong in the pages");
});
const rules = [
  { pattern: "room1", anonymous_clients: true, presence: true, client_public_messaging: true, client_authenticated_messaging: true, history: 100 },
  { pattern: "chat", wildcard: true, anonymous_clients: true, presence: true, client_public_messaging: true, history: 100, pattern_join: "anyone" },
  { pattern: "live", anonymous_clients: true, client_public_messaging: true },
  { pattern: "team", client_public_messaging: true, presence: true, history: 100 },
];
const user = (row_id, name) => token({ dbo_id: 5, row_id, extras: { name } });
const send = async (channel, data) => (await place.server.api("POST", "/api/v1/demo/events", { channel, data, store: true })).body;

async function inspect(channel, options) {
  const page = await place.admin("#/1/inspector/" + encodeURIComponent(channel), options);
  pages.push(page);
  const why = page.locator("section", { hasText: "Why did this user not get this message?" });
  return {
    page,
    open: async () => {
      await page.getByRole("button", { name: "Open", exact: true }).click();
      await page.getByText(/this socket is/).waitFor();
    },
    /** Asks about a user, and gives the answer. */
    ask: async (row, message = "") => {
      await why.getByLabel("Whose sockets").selectOption("user");
      await why.getByLabel("Table").fill("5");
      await why.getByLabel("User (row_id)").fill(String(row));
      await why.getByLabel("Message: id or offset").fill(String(message));
      const answered = page.waitForResponse((r) => r.url().includes("/explain?") && r.request().method() === "GET" && r.url().includes("op=join") && r.url().includes("authenticated=true"));
      await why.getByRole("button", { name: "Ask" }).click();
      await answered;
      await why.getByRole("button", { name: "Ask" }).and(page.locator(":enabled")).waitFor();
      return why.getByTestId("why").textContent();
    },
    why,
    sockets: () => why.getByTestId("socket").allTextContents(),
  };
}

test("she got it; she was not there any more; she came later; she was elsewhere; she may not", async () => {
  const people = await crowdOf(place, [
    { channel: "room1", token: user(17, "Ada") },
    { channel: "chat/sports", token: user(18, "Grace") },
    { channel: "chat/*", token: user(19, "Alan") },
  ]);
  const { page, ask, why, sockets, open } = await inspect("room1");
  await open();
  const first = await people.send(0, { text: "first" });
  assert.match(await ask(17, first.id), /Delivered to the socket of user 17/);
  assert.match((await sockets())[0], /user 17 of table 5.*got it.*left the gateway.*Connected.*Backlog.*0 bytes.*room1.*delivered up to/s);
  assert.match(await ask(17, first.offset), new RegExp(`Message ${first.id.replace(/\./g, "\\.")} at offset ${first.offset}`), "by its offset too");
  assert.match(await ask(18, first.id), /No\. It was not on the channel/);
  assert.match(await ask(99, first.id), /No socket of user 99 is known/);

  await people.leave(0);
  await until(async () => /1 ended/.test(await ask(17)), "her socket ended");
  const second = await send("room1", { text: "second" });
  assert.match(await ask(17, second.id), /No\. It had ended .* before the message: the client closed it \(close code 1000\)/);
  const back = await crowdOf(place, [{ channel: "room1", token: user(17, "Ada") }]);
  assert.match(await ask(17, second.id), /none of the 2 sockets of user 17 got it/);
  assert.match((await sockets()).join("\n"), /It connected .* after the message, so it can only have it from history or by resuming/);
  const third = await send("room1", { text: "third" });
  await until(async () => /Delivered to 1 of 2 sockets/.test(await ask(17, third.id)), "delivered");
  await picture(page, "why-light");
  assert.deepEqual(await faults(page), []);

  // A message that is not kept, and what never was one.
  await ask(17, first.id);
  await why.getByLabel("Message: id or offset").fill("no-such-id");
  await why.getByRole("button", { name: "Ask" }).click();
  await why.getByText("No such message is kept on this channel").waitFor();

  // Left on purpose, while the connection stays.
  await page.getByRole("button", { name: "Close", exact: true }).click();
  await page.getByLabel("Channel", { exact: true }).fill("chat/sports");
  await people.close();
  await back.close();
});

test("signed-in only, patterns, a rule that does not let her in, and leaving", async () => {
  const people = await crowdOf(place, [{ channel: "room1" }, { channel: "chat/*", token: user(29, "Alan") }, { channel: "chat/a", token: user(20, "Edsger") }]);
  const { page, ask, why, sockets, open } = await inspect("room1");
  await open();
  // The message is for signed-in members; the only other member is anonymous.
  await page.getByLabel("Send as").selectOption("minted");
  await page.getByLabel("Row (row_id)").fill("23");
  await page.getByLabel("Extras, as JSON").fill('{"name": "Barbara"}');
  await page.getByLabel("To", { exact: true }).selectOption("authenticated");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("Message accepted").first().waitFor();
  await send("room1", "for all");
  const row = page.getByTestId("frame").filter({ hasText: "for all" });
  await row.getByRole("button", { name: /Who got it/ }).click();
  await until(async () => (await sockets()).length >= 2, "everybody on the channel");
  assert.match(await why.getByTestId("why").textContent(), /Delivered to/);
  const id = (await place.server.history("room1")).find((f) => f.options.authenticated).options.id;
  await why.getByLabel("Message: id or offset").fill(id);
  await why.getByRole("button", { name: "Ask" }).click();
  await until(async () => (await sockets()).some((t) => /for signed-in members only; this socket is anonymous/.test(t)), "not for the anonymous one");

  await page.getByRole("button", { name: "Close", exact: true }).click();
  await page.getByLabel("Channel", { exact: true }).fill("chat/a");
  const kept = await send("chat/a", "kept");
  assert.match(await ask(29, kept.id), /Delivered to the socket of user 29/, "through the pattern");
  assert.match(await ask(20, kept.id), /Delivered to the socket of user 20/);

  await page.getByLabel("Channel", { exact: true }).fill("live");
  assert.match(await ask(20), /1 open, 0 ended/);
  await page.getByLabel("Channel", { exact: true }).fill("nowhere");
  assert.match(await ask(77), /No socket of user 77 is known.*The rules do not let user 77 join: No rule covers this channel/);
  await people.close();
});

test("an anonymous client, a user and the server send; others see who it was", async () => {
  const people = await crowdOf(place, [{ channel: "room1" }]);
  const { page, open } = await inspect("room1");
  await page.getByLabel("As", { exact: true }).selectOption("minted");
  await page.getByRole("button", { name: "Open", exact: true }).and(page.locator(":disabled")).waitFor();
  const bar = page.locator(".open-bar");
  await bar.getByLabel("Row (row_id)").fill("41");
  await bar.getByLabel("Extras, as JSON").fill("nonsense");
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByText("The extras are not a JSON object").waitFor();
  await bar.getByLabel("Extras, as JSON").fill('{"name": "Ida"}');
  await open();
  await page.getByText("Ida, user 41").first().waitFor();
  for (const [as, text] of [["socket", "as the socket"], ["anonymous", "as nobody"], ["minted", "as a user"], ["server", "as the server"]]) {
    await page.getByLabel("Send as").selectOption(as);
    const form = page.locator("section", { hasText: "Send as" }).last();
    if (as === "minted") await form.getByLabel("Row (row_id)").fill("42");
    await page.getByLabel("JSON", { exact: true }).fill(JSON.stringify(text));
    await page.getByRole("button", { name: "Send", exact: true }).click();
    await page.getByTestId("frame").filter({ hasText: text }).waitFor();
  }
  const from = async (text) => (await page.getByTestId("frame").filter({ hasText: text }).textContent()).match(/from (.*?) \S{20,}/)?.[1] ?? "server";
  assert.deepEqual([await from("as the socket"), await from("as nobody"), await from("as a user"), await from("as the server")], ["Ida, user 41", "anonymous", "user 42", "server"]);
  await until(async () => (await people.heard(0)).length >= 3, "all of them on her socket");
  assert.deepEqual(await people.heard(0), ["as the socket", "as nobody", "as a user"]);

  // Where the time went, message by message.
  const times = page.getByTestId("frame").filter({ hasText: "as a user" }).getByTestId("times");
  await times.waitFor();
  assert.match(await times.textContent(), /store [\d.]+ ms\s*transit [\d.]+ ms\s*queue [\d.]+ ms\s*write [\d.]+ ms\s*browser ≈ [\d.]+ ms/);
  await page.evaluate(() => scrollTo(0, 0));
  await picture(page, "inspector-times");
  assert.deepEqual(await faults(page), []);
  await people.close();
});

test("how it looks: dark, phone", async () => {
  const people = await crowdOf(place, [{ channel: "room1", token: user(17, "Ada") }, { channel: "room1", token: user(17, "Ada") }]);
  const message = await people.send(0, { text: "Where is my parcel?" });
  await people.leave(1);
  for (const [name, options] of Object.entries({
    dark: { colorScheme: "dark" },
    phone: { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  })) {
    const { page, ask, why, open } = await inspect("room1", options);
    await open();
    await ask(17, message.id);
    await why.scrollIntoViewIfNeeded();
    await picture(page, `why-${name}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
    assert.deepEqual(await faults(page), [], name);
    await page.evaluate(() => scrollTo(0, 0));
    await picture(page, `inspector-${name}`);
  }
  await people.close();
});
