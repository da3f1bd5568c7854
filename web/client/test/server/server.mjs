// A real server for the tests: the binary built from this tree, with `fanfare dev` on a port of its own.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePort } from "../../../../test/freeport.cjs";

const root = join(import.meta.dirname, "../../../..");

/** FANFARE_BIN names a binary that is there already. */
function binary(dir) {
  if (process.env.FANFARE_BIN) return process.env.FANFARE_BIN;
  const file = join(dir, "fanfare");
  execFileSync("go", ["build", "-o", file, "./cmd/fanfare"], { cwd: root, stdio: "inherit" });
  return file;
}

export class Server {
  #dir = mkdtempSync(join(tmpdir(), "fanfare-test-"));
  adminToken = "test-admin-token-0123456789abcdef";
  apiKey = "test-api-key-0123456789abcdef";
  environment = {};

  async start() {
    this.#file ??= binary(this.#dir);
    this.port ??= await freePort();
    this.#process = spawn(this.#file, ["dev"], {
      cwd: this.#dir,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env.PATH,
        FANFARE_LISTEN: `127.0.0.1:${this.port}`,
        FANFARE_OPS_LISTEN: `127.0.0.1:${await freePort()}`,
        FANFARE_DATA_DIR: join(this.#dir, "data"),
        FANFARE_ADMIN_TOKEN: this.adminToken,
        FANFARE_API_KEYS: this.apiKey,
        FANFARE_DRAIN: "1s",
        ...this.environment,
      },
    });
    this.log = "";
    for (const stream of [this.#process.stdout, this.#process.stderr]) stream.on("data", (chunk) => (this.log = (this.log + chunk).slice(-20_000)));
    const end = Date.now() + 60_000;
    for (;;) {
      const answer = await fetch(`http://127.0.0.1:${this.port}/api/v1/demo/channels`, { headers: { authorization: `Bearer ${this.apiKey}` } }).catch(() => undefined);
      await answer?.body?.cancel();
      if (answer?.ok) break;
      if (this.#process.exitCode !== null || Date.now() > end) throw new Error("the server does not start:\n" + this.log);
      await new Promise((done) => setTimeout(done, 50));
    }
    this.http = `http://127.0.0.1:${this.port}`;
    this.url = `ws://127.0.0.1:${this.port}/rt/demo`;
    return this;
  }
  #file;
  #process;

  /** SIGTERM drains, SIGKILL is a crash. */
  async stop(signal = "SIGTERM") {
    if (!this.#process || this.#process.exitCode !== null || this.#process.signalCode) return;
    const gone = once(this.#process, "exit");
    this.#process.kill(signal);
    await gone;
  }

  async close() {
    await this.stop("SIGKILL");
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async api(method, path, body, key = this.apiKey) {
    const answer = await fetch(this.http + path, {
      method,
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : undefined };
  }

  /** What the channel's history holds, all of it. */
  async history(channel) {
    const { body } = await this.api("GET", `/api/v1/demo/channels/${encodeURIComponent(channel)}/history?limit=1000`);
    return body.items;
  }
}
