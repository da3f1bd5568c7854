// Makes the console's pictures for the docs from the running product: npm run pictures. Small PNGs, light and dark.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { crowdOf, secret, start, token, until } from "./harness.mjs";

const folder = join(import.meta.dirname, "../../../docs/images");
mkdirSync(folder, { recursive: true });
const place = await start({ FANFARE_AUTH_JWT_SECRET: secret });
const shot = (page, name, options = {}) => page.screenshot({ path: join(folder, name + ".png"), animations: "disabled", ...options });
const user = (row_id, name) => token({ dbo_id: 1, row_id, extras: { name } });
const wide = { viewport: { width: 1280, height: 800 } };
try {
  const put = (channels) => place.server.api("PUT", "/api:meta/workspace/1/realtime", { channels }, place.server.adminToken);
  // Getting started: what a first look shows, with the rules that dev makes.
  const first = await place.admin("#/1/settings", wide);
  await first.getByRole("button", { name: "Edit room1" }).waitFor();
  await shot(first, "console-settings");
  await first.getByRole("button", { name: "Edit room1" }).click();
  await first.getByRole("dialog").waitFor();
  await first.waitForTimeout(300);
  await shot(first, "console-channel");
  await first.context().close();

  await put([
    { pattern: "room1", description: "The lobby", anonymous_clients: true, presence: true, client_public_messaging: true, client_private_messaging: true, history: 100 },
    { pattern: "chat", wildcard: true, description: "Support conversations", anonymous_clients: true, presence: true, client_public_messaging: true, history: 250 },
    { pattern: "orders", wildcard: true, description: "What happens to an order", client_authenticated_messaging: true, history: 25 },
  ]);
  const people = await crowdOf(place, [
    { channel: "room1", token: user(17, "Maya Lind"), data: { status: "here" } },
    { channel: "room1", token: user(18, "Omar Haddad") },
    { channel: "room1", token: user(19, "Lena Sommer") },
    ...Array.from({ length: 24 }, (_, i) => ({ channel: ["chat/returns", "chat/plants", "chat/delivery", "orders/4711"][i % 4], token: user(30 + i, `Visitor ${i}`) })),
  ]);
  const page = await place.admin("#/1/inspector/room1", wide);
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByText(/this socket is/).waitFor();
  await people.send(0, { text: "Good morning!" });
  await page.waitForTimeout(1500); // the page is at rest: what follows takes as long as it takes
  await people.send(1, { text: "Has anybody seen the new pots?" });
  await people.send(0, { text: "They come on Thursday, I have put one aside for you." });
  await people.send(1, { text: "Wonderful, I will be there at ten." });
  await until(async () => (await page.getByTestId("times").count()) >= 3, "times");
  await shot(page, "console-inspector");
  await people.leave(2);
  await new Promise((done) => setTimeout(done, 1500));
  const late = await people.send(0, { text: "Lena, are you coming too?" });
  const why = page.locator("section", { hasText: "Why did this user not get this message?" });
  await why.getByLabel("User (row_id)").fill("19");
  await why.getByLabel("Message: id or offset").fill(late.id);
  await why.getByRole("button", { name: "Ask" }).click();
  await why.getByTestId("socket").first().waitFor();
  await why.screenshot({ path: join(folder, "console-why.png"), animations: "disabled" });
  await page.context().close();

  await people.talk(500);
  const live = await place.admin("#/1/live", { ...wide, viewport: { width: 1280, height: 820 } });
  await live.waitForTimeout(45_000); // so that there is something to see
  await shot(live, "console");
  await live.context().close();
  const dark = await place.admin("#/1/settings", { ...wide, colorScheme: "dark" });
  await dark.getByRole("button", { name: "Edit room1" }).waitFor();
  await shot(dark, "console-dark");
  const phone = await place.admin("#/1/inspector/room1", { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
  await phone.getByRole("button", { name: "Open", exact: true }).click();
  await phone.getByText(/this socket is/).waitFor();
  await phone.waitForTimeout(1500);
  await shot(phone, "console-phone");
  const connect = await place.admin("#/1/connect", wide);
  await connect.locator(".snippet").first().waitFor();
  await shot(connect, "console-connect");
  await people.close();
} finally {
  await place.close();
}
