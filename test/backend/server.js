// A Fanfare server for these tests: the program that FANFARE_BIN names, on free loopback ports, with the settings
// given and a data directory of its own, ended by its process id.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePort } from "../freeport.cjs";

export const API_KEY = "backend-tests-key";

/** Starts a server with one realtime server `demo` that has these channel rules. */
export async function startServer(channels) {
  const bin = process.env.FANFARE_BIN;
  if (!bin) throw new Error("FANFARE_BIN must name the server program (npm test sets it)");
  const dir = mkdtempSync(join(tmpdir(), "fanfare-backend-"));
  const settings = join(dir, "settings.json");
  writeFileSync(settings, JSON.stringify({ servers: [{ id: 1, name: "Demo", enabled: true, hash: "demo", channels }] }));
  const port = await freePort();
  const child = spawn(bin, ["serve"], {
    stdio: ["ignore", "ignore", "pipe"],
    env: {
      PATH: process.env.PATH, FANFARE_LISTEN: `127.0.0.1:${port}`, FANFARE_OPS_LISTEN: `127.0.0.1:${await freePort()}`,
      FANFARE_DATA_DIR: join(dir, "data"), FANFARE_SETTINGS_FILE: settings, FANFARE_API_KEYS: API_KEY,
      FANFARE_TRIGGERS_ALLOW_PRIVATE: "true", FANFARE_LIFECYCLE_RETENTION: "1h", FANFARE_DRAIN: "0s",
    },
  });
  let log = "";
  child.stderr.on("data", (text) => (log += text));
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    if (child.exitCode === null) {
      child.kill("SIGTERM");
      await once(child, "exit");
    }
    rmSync(dir, { recursive: true, force: true });
  };
  for (const deadline = Date.now() + 60_000; ; ) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error(`the server did not start:\n${log}`);
    }
    const ready = await fetch(`${url}/api/openapi.yaml`).then((r) => r.ok, () => false);
    if (ready) return { url, port, stop };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const rule = (pattern, more = {}) => ({
  id: 1, pattern, description: "", enabled: true, wildcard: true, anonymous_clients: true, presence: true,
  client_public_messaging: true, client_public_messaging_authenticated_only: false, client_authenticated_messaging: true,
  client_private_messaging: true, client_private_messaging_authenticated_only: false, history: 100, ...more,
});

/** A socket, with the frames that have come. */
export async function connect(server, WebSocket) {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/rt/demo`);
  const frames = [];
  let wake = () => {};
  socket.addEventListener("message", (e) => (frames.push(JSON.parse(e.data)), wake()));
  await once(socket, "open");
  return {
    send: (frame) => socket.send(JSON.stringify(frame)),
    next: async (action) => {
      for (;;) {
        const at = frames.findIndex((f) => f.action === action);
        if (at >= 0) return frames.splice(at, 1)[0];
        await new Promise((resolve) => (wake = resolve));
      }
    },
    close: () => socket.close(),
  };
}
