import { agent } from "./agent.js";
import { bar, restoreTheme } from "./bar.js";
import { Chat } from "./chat.js";
import { kind, memory, role, socketUrl } from "./params.js";
import { ask, restore } from "./sdk.js";
import { fanfare, xano } from "./transport.js";
import { visitor } from "./visitor.js";
import { install } from "./wire.js";

restoreTheme();
// Before any client is loaded: the SDK takes the WebSocket it finds.
install(socketUrl);
document.body.classList.add(role);
if (kind === "xano" && !(await restore())) await ask();

const team = ["Maya Lind", "Tom Okafor", "Ines Duarte", "Jonas Weber"];
const name = role === "agent" ? (memory.get("agent") ?? team[Math.floor(Math.random() * team.length)]!) : (memory.get("name") ?? "");
if (role === "agent") memory.set("agent", name);
const chat = new Chat(kind === "xano" ? xano() : fanfare(), role, name);
document.body.prepend(bar(chat));
(role === "agent" ? agent : visitor)(chat);
