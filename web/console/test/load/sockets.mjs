// Many sockets in one process of their own: node sockets.mjs PORT COUNT CHANNELS. It says "ready" when all have joined,
// prints how many frames it got each second, and ends with its standard input.
import { createHash, randomBytes } from "node:crypto";
import net from "node:net";

const [port, count, channels] = process.argv.slice(2).map(Number);
let joined = 0;
let frames = 0;

/** A text frame of a client. The mask may be zero: it is there for proxies. */
function masked(text) {
  const body = Buffer.from(text);
  const head = body.length < 126 ? Buffer.from([0x81, 0x80 | body.length]) : Buffer.from([0x81, 0xfe, body.length >> 8, body.length & 255]);
  return Buffer.concat([head, Buffer.alloc(4), body]);
}
const pong = Buffer.from([0x8a, 0x80, 0, 0, 0, 0]);

function open(i) {
  return new Promise((done, fail) => {
    const key = randomBytes(16).toString("base64");
    const accept = createHash("sha1").update(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
    const socket = net.connect(port, "127.0.0.1");
    let rest = Buffer.alloc(0);
    let upgraded = false;
    socket.on("error", fail);
    socket.on("close", () => fail(new Error(`socket ${i} was closed`)));
    socket.write(`GET /rt/demo HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`);
    socket.on("data", (chunk) => {
      rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
      if (!upgraded) {
        const end = rest.indexOf("\r\n\r\n");
        if (end < 0) return;
        const head = rest.subarray(0, end).toString();
        if (!head.startsWith("HTTP/1.1 101") || !head.includes(accept)) return socket.destroy(new Error(head));
        rest = rest.subarray(end + 4);
        upgraded = true;
        socket.write(masked(JSON.stringify({ action: "join", options: { channel: `chat/room-${i % channels}` }, payload: { history: false, presence: false } })));
      }
      for (;;) {
        if (rest.length < 2) return;
        const short = rest[1] & 127;
        const start = short < 126 ? 2 : short === 126 ? 4 : 10;
        if (rest.length < start) return;
        const size = short < 126 ? short : short === 126 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2));
        if (rest.length < start + size) return;
        if ((rest[0] & 15) === 9) socket.write(pong);
        else if (rest[start + 11] === 0x6a) (joined++, done(socket)); // {"action":"join"
        else frames++;
        rest = rest.subarray(start + size);
      }
    });
  });
}

for (let i = 0; i < count; i += 100) await Promise.all(Array.from({ length: Math.min(100, count - i) }, (_, k) => open(i + k)));
console.log(`ready ${joined}`);
setInterval(() => {
  console.log(`frames ${frames}`);
  frames = 0;
}, 1000);
process.stdin.resume().on("end", () => process.exit(0));
