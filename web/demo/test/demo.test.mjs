// The demo with several people, each in a browser of their own.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, afterEach, before, test } from "node:test";
import { room, start } from "./harness.mjs";

const sdkFile = createRequire(import.meta.url).resolve("@xano/js-sdk/dist/xano.min.js");
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let place, pages;
before(async () => (place = await start()));
after(() => place?.close());
afterEach(async () => {
  for (const page of pages) {
    assert.deepEqual(page.problems, [], "nothing went wrong in the page");
    await page.context().close();
  }
});

const address = (channel, more = "") => `${place.origin}/demo/?room=${encodeURIComponent(channel)}${more}`;

async function open(path, options) {
  const page = await place.person(options);
  page.setDefaultTimeout(40_000);
  (pages ??= []).push(page);
  await page.goto(path);
  return page;
}
async function visitor(channel, name, more = "", options = {}) {
  const page = await open(address(channel, more), options);
  await page.getByRole("button", { name: "Chat with us" }).click();
  await page.getByLabel("What may we call you?").fill(name);
  await page.getByRole("button", { name: "Start chatting" }).click();
  await page.getByText(/\d online/).waitFor();
  return page;
}
async function agent(channel, name, more = "", options = {}) {
  const page = await open(address(channel, "&role=agent" + more), options);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Your name").press("Tab");
  await page.getByText(/\d online/).waitFor();
  return page;
}
const begin = () => (pages = []);
const field = (page) => page.locator(".composer textarea");
async function say(page, text) {
  await field(page).fill(text);
  await field(page).press("Enter");
}
const bubble = (page, text) => page.locator(".bubble", { hasText: text });
const texts = (page) => page.locator(".bubble").allTextContents();

test("two people talk: presence, messages, typing, history", async () => {
  begin();
  const channel = room();
  const maya = await agent(channel, "Maya");
  const lena = await visitor(channel, "Lena");
  await maya.getByRole("button", { name: "Lena" }).waitFor();
  await lena.getByText("2 online, 1 from our team").waitFor();

  await say(lena, "My monstera has brown edges");
  await bubble(maya, "brown edges").waitFor();
  await lena.locator(".mine.sent").waitFor();
  await field(maya).pressSequentially("Let me");
  await lena.getByText("Maya is typing").waitFor();
  await say(maya, "Let me see a picture");
  await bubble(lena, "Let me see").waitFor();
  await lena.getByText("Maya is typing").waitFor({ state: "hidden" });

  const omar = await visitor(channel, "Omar");
  await bubble(omar, "Let me see").waitFor();
  assert.deepEqual(await texts(omar), ["My monstera has brown edges", "Let me see a picture"]);
  assert.equal(await omar.locator(".mine").count(), 0);

  await omar.context().close();
  pages.pop();
  await maya.getByRole("button", { name: "Omar" }).waitFor({ state: "detached" });
});

test("a private note reaches one person only and is not stored", async () => {
  begin();
  const channel = room();
  const [maya, lena, omar] = [await agent(channel, "Maya"), await visitor(channel, "Lena"), await visitor(channel, "Omar")];
  await maya.getByRole("button", { name: "Lena" }).click();
  await maya.getByRole("button", { name: "Write in private" }).click();
  await say(maya, "Your order number, please");
  await lena.getByText("Private, only you see this").waitFor();
  await bubble(lena, "order number").waitFor();
  await maya.getByRole("button", { name: "Lena" }).click(); // no longer chosen
  await say(maya, "And now for everybody");
  await bubble(omar, "for everybody").waitFor();
  assert.deepEqual(await texts(omar), ["And now for everybody"]);
  const late = await visitor(channel, "Late");
  await bubble(late, "for everybody").waitFor();
  assert.deepEqual(await texts(late), ["And now for everybody"]);
});

test("offline: messages wait, survive a reload, and arrive once, in order", async () => {
  begin();
  const channel = room();
  const maya = await agent(channel, "Maya");
  const lena = await visitor(channel, "Lena");
  await lena.getByRole("switch", { name: "Go offline" }).click();
  await lena.getByText(/^Offline/).waitFor();
  await lena.locator(".variable", { hasText: '"disconnected"' }).waitFor({ state: "attached" });
  for (const text of ["one", "two", "three"]) await say(lena, text);
  assert.equal(await lena.locator(".waiting").count(), 3);
  await lena.getByText(/3 waiting/).waitFor();
  await say(maya, "meanwhile");
  await lena.waitForTimeout(300);
  assert.equal(await bubble(maya, "one").count(), 0);
  await lena.reload(); // the page is online again, the queue is still there
  await bubble(maya, "three").waitFor();
  await bubble(lena, "three").waitFor();
  await lena.locator(".waiting").first().waitFor({ state: "detached" });
  assert.deepEqual(await texts(maya), ["meanwhile", "one", "two", "three"]);
  assert.deepEqual(await texts(lena), ["meanwhile", "one", "two", "three"]);
  assert.equal(await lena.locator(".mine").count(), 3);

  await lena.getByRole("switch", { name: "Go offline" }).click();
  await lena.getByText(/^Offline/).waitFor();
  await say(lena, "four");
  await say(maya, "you missed this");
  await lena.getByRole("switch", { name: "Go offline" }).click();
  await bubble(lena, "you missed this").waitFor();
  await bubble(maya, "four").waitFor();
  assert.deepEqual((await texts(lena)).slice(4), ["you missed this", "four"]);
});

test("leaving: nobody sees one, nothing comes, the variable says so; coming back brings the conversation", async () => {
  begin();
  const channel = room();
  const maya = await agent(channel, "Maya");
  const lena = await visitor(channel, "Lena");
  await say(lena, "before");
  await bubble(maya, "before").waitFor();
  const variable = lena.locator(".variable b");
  assert.equal(await variable.textContent(), '"connected"');
  await lena.getByRole("button", { name: "Leave the chat" }).click();
  await lena.getByText("You have left the chat").waitFor();
  assert.equal(await variable.textContent(), '"left"');
  await maya.getByRole("button", { name: "Lena" }).waitFor({ state: "detached" });
  await say(maya, "while away");
  await lena.waitForTimeout(200);
  await lena.getByRole("button", { name: "Come back" }).click();
  await bubble(lena, "while away").waitFor();
  assert.deepEqual(await texts(lena), ["before", "while away"]);
  assert.equal(await variable.textContent(), '"connected"');
});

test("a closed panel counts what is new", async () => {
  begin();
  const channel = room();
  const maya = await agent(channel, "Maya");
  const lena = await visitor(channel, "Lena");
  await lena.keyboard.press("Escape");
  await say(maya, "are you there?");
  await lena.getByRole("button", { name: "Chat with us, 1 unread" }).click();
  await bubble(lena, "are you there?").waitFor();
  assert.equal(await lena.locator(".count").isHidden(), true);
});

test("payloads and names are text, whatever they contain", async () => {
  begin();
  const channel = room();
  const evil = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`;
  const maya = await agent(channel, "Maya");
  const lena = await visitor(channel, evil.slice(0, 40));
  await say(lena, evil);
  await bubble(maya, "<script>").waitFor();
  // And from somebody who does not keep to our form at all.
  await lena.evaluate(
    ([url, name]) =>
      new Promise((done) => {
        const socket = new WebSocket(url);
        socket.onopen = () => {
          const send = (action, payload) => socket.send(JSON.stringify({ action, options: { channel: name }, payload }));
          send("join", { presence: true });
          send("presence_update", { data: { name: { toString: 1 }, role: ["agent"], page: "<b>x</b>", typing: "yes", since: "never" } });
          for (const payload of [null, 7, "text", [1], { text: 5 }, { text: "<b>bold</b>", key: "k", name: ["<i>"], role: "admin", at: "x" }, { text: "y", key: "__proto__", name: null }]) {
            send("message", payload);
          }
          setTimeout(done, 300);
        };
      }),
    [place.origin.replace("http", "ws") + "/rt/demo", channel],
  );
  await bubble(maya, "<b>bold</b>").waitFor();
  assert.equal(await maya.locator(".thread img, .thread script, .thread b b, .people img").count(), 0);
  assert.equal(await maya.evaluate(() => window.hacked), undefined);
  await say(maya, "still here");
  await bubble(lena, "still here").waitFor();
});

test("a back end's event is announced", async (t) => {
  begin();
  if (!place.server) return t.diagnostic("no key for the server at DEMO_URL");
  const channel = room();
  const lena = await visitor(channel, "Lena");
  const answer = await place.server.api("POST", "/api/v1/demo/events", { channel, data: { text: "We close at six today." } });
  assert.equal(answer.status, 200);
  await lena.locator(".announcement", { hasText: "We close at six today." }).waitFor();
});

for (const [way, load] of [
  ["from a file", (page) => page.getByLabel(/Or choose your copy/).setInputFiles(sdkFile)],
  ["from the mirror, checked against its hash", (page) => page.getByRole("button", { name: "Load it from jsDelivr" }).click()],
]) {
  test(`the same page on Xano's SDK, loaded ${way}`, async () => {
    begin();
    const channel = room();
    const maya = await agent(channel, "Maya");
    const lena = await open("about:blank");
    await lena.route("https://cdn.jsdelivr.net/**", (route) =>
      route.fulfill({ path: sdkFile, contentType: "text/javascript", headers: { "access-control-allow-origin": "*" } }),
    );
    await lena.goto(address(channel, "&client=xano"));
    await load(lena);
    await lena.getByRole("button", { name: "Chat with us" }).click();
    await lena.getByLabel("What may we call you?").fill("Lena");
    await lena.getByRole("button", { name: "Start chatting" }).click();
    await lena.getByText("2 online, 1 from our team").waitFor();
    await say(maya, "from ours");
    await bubble(lena, "from ours").waitFor();
    await say(lena, "from theirs");
    await bubble(maya, "from theirs").waitFor();
    await lena.locator(".mine.sent").waitFor();
    await lena.getByRole("button", { name: "Leave the chat" }).click();
    await maya.getByRole("button", { name: "Lena" }).waitFor({ state: "detached" });
    await lena.waitForTimeout(300); // the SDK's own race: its old socket must be gone
    await lena.getByRole("button", { name: "Come back" }).click();
    await bubble(lena, "from ours").waitFor();
    await lena.reload(); // kept in this browser
    await bubble(lena, "from ours").waitFor();
    assert.deepEqual(await texts(lena), ["from ours", "from theirs"]);
  });
}

test("a file that is not the SDK, or not the very file, is refused", async () => {
  begin();
  const page = await open("about:blank");
  await page.route("https://cdn.jsdelivr.net/**", (route) =>
    route.fulfill({ body: readFileSync(sdkFile, "utf8") + "\n", contentType: "text/javascript", headers: { "access-control-allow-origin": "*" } }),
  );
  await page.goto(address(room(), "&client=xano"));
  await page.getByRole("button", { name: "Load it from jsDelivr" }).click();
  await page.getByText("The script could not be loaded.").waitFor();
  await page.getByLabel(/Or choose your copy/).setInputFiles({ name: "x.js", mimeType: "text/javascript", buffer: Buffer.from("let a = 1;") });
  await page.getByText("This script does not define XanoClient.").waitFor();
  page.problems = page.problems.filter((text) => !text.includes("integrity") && !text.includes("ERR_FAILED"));
});

test("the keyboard is enough", async () => {
  begin();
  const page = await open(address(room()));
  await page.getByRole("button", { name: "Chat with us" }).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("Kim");
  await page.keyboard.press("Enter");
  await page.getByText("1 online").waitFor();
  await page.keyboard.type("first line");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("second line");
  await page.keyboard.press("Enter");
  await bubble(page, "second line").waitFor();
  assert.deepEqual(await texts(page), ["first line\nsecond line"]);
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement?.className), "launcher");
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing serious, ${colorScheme}`, async () => {
    begin();
    const channel = room();
    const options = { colorScheme, reducedMotion: "reduce", bypassCSP: true };
    const maya = await agent(channel, "Maya", "", options);
    const lena = await visitor(channel, "Lena", "", options);
    const phone = await visitor(channel, "Priya", "", { ...options, viewport: { width: 390, height: 844 } });
    await say(lena, "Hello");
    await bubble(maya, "Hello").waitFor();
    await maya.getByRole("button", { name: "Lena" }).click();
    await maya.getByRole("button", { name: "Write in private" }).click();
    await say(maya, "In private");
    await bubble(lena, "In private").waitFor();
    await lena.getByRole("switch", { name: "Go offline" }).click();
    await lena.getByText(/^Offline/).waitFor();
    await say(lena, "Waiting");
    await lena.getByRole("button", { name: "Frames" }).click();
    await field(phone).pressSequentially("typing");
    await maya.getByText("Priya is typing").waitFor();
    for (const page of [maya, lena, phone]) {
      await page.evaluate(axeSource);
      const { violations } = await page.evaluate(() => window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
      const found = violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => target + " " + failureSummary).join("; ")}`);
      assert.deepEqual(found, []);
    }
  });
}
