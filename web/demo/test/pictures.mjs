// Makes docs/images/demo.png from the running page: npm run pictures.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { room, start } from "./harness.mjs";

const file = join(import.meta.dirname, "../../../docs/images/demo.png");
const place = await start();
try {
  const path = `${place.origin}/demo/?room=${room()}`;
  const say = async (page, text) => {
    await page.fill(".composer textarea", text);
    await page.press(".composer textarea", "Enter");
    await page.locator(".bubble", { hasText: text }).waitFor();
  };
  const visitor = async (name, options) => {
    const page = await place.person(options);
    await page.goto(path);
    await page.click(".launcher");
    await page.fill("#name", name);
    await page.getByRole("button", { name: "Start chatting" }).click();
    await page.getByText(/\d online/).waitFor();
    return page;
  };
  const maya = await place.person({ viewport: { width: 1360, height: 850 } });
  await maya.goto(path + "&role=agent");
  await maya.fill(".own-name", "Maya Lind");
  await maya.press(".own-name", "Tab");
  const lena = await visitor("Lena");
  const omar = await visitor("Omar Haddad");
  const phone = await visitor("Priya", { viewport: { width: 390, height: 660 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
  await say(lena, "Hello! My monstera has brown edges on two leaves. Am I killing it?");
  await say(maya, "Hello Lena, no, they are tougher than they look. How often do you water it?");
  await say(lena, "Every Saturday, a full glass");
  await say(lena, "It stands right above the radiator");
  await say(omar, "Mine had exactly that last winter. Moved it a metre away and it stopped.");
  await say(maya, "Omar is right, it is the dry air. Away from the radiator, and water only when the top of the soil is dry. The brown stays, but it will not spread.");
  await say(lena, "I will move it tonight. Thank you both!");
  await maya.getByRole("button", { name: "Lena" }).click();
  await maya.getByRole("button", { name: "Write in private" }).click();
  await say(maya, "Lena, if you send me your order number I will put a humidity tray in your next parcel.");
  await phone.locator(".composer textarea").pressSequentially("Does that also hold for a pilea");
  await maya.getByText("Priya is typing").waitFor();
  await maya.waitForTimeout(300); // the last message has slid in
  const pictures = await Promise.all([maya, phone].map((page) => page.screenshot({ animations: "disabled" })));

  const sheet = await place.person({ viewport: { width: 1600, height: 900 } });
  await sheet.setContent(`<style>
    body { margin: 0; height: 900px; position: relative; overflow: hidden; background: #e6ece3; }
    img { position: absolute; border-radius: 12px; box-shadow: 0 10px 50px rgb(20 40 30 / 25%); }
    img:first-of-type { left: 36px; top: 36px; width: 1200px; }
    img:last-of-type { right: 36px; bottom: 36px; width: 380px; }
  </style>${pictures.map((picture) => `<img src="data:image/png;base64,${picture.toString("base64")}">`).join("")}`);
  await sheet.waitForTimeout(200);
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, await sheet.screenshot());
} finally {
  await place.close();
}
