// A client made from the API's own description, by openapi-typescript and openapi-fetch, makes the calls of the
// examples: its types accept them, refuse wrong ones, and the server answers as it says.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { API_KEY, rule, startServer } from "../server.js";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const out = join(here, "node_modules", ".generated");
let server;

before(async () => {
  server = await startServer([rule("chat")]);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
});
after(() => server?.stop());

const source = `
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

export async function calls(baseUrl: string, key: string) {
  const api = createClient<paths>({ baseUrl, headers: { Authorization: "Bearer " + key } });
  const path = { hash: "demo" };
  const live = await api.POST("/api/v1/{hash}/events", { params: { path }, body: { channel: "chat/orders", data: { order: 7, state: "paid" } } });
  const once = await api.POST("/api/v1/{hash}/events", { params: { path }, body: { channel: "chat/orders", data: { order: 7 }, id: "order-7-sent" } });
  const again = await api.POST("/api/v1/{hash}/events", { params: { path }, body: { channel: "chat/orders", data: { order: 7 }, id: "order-7-sent" } });
  const user = await api.POST("/api/v1/{hash}/events", { params: { path }, body: { channel: "chat/orders", data: "for you", dbo_id: 17, row_id: 3 } });
  const atomic = await api.POST("/api/v1/{hash}/events/batch", { params: { path }, body: { atomic: true, events: [
    { channel: "chat/{order7}/items", data: { add: "tea" } }, { channel: "chat/{order7}/log", data: "tea was added" } ] } });
  const history = await api.GET("/api/v1/{hash}/channels/{channel}/history", { params: { path: { ...path, channel: "chat/orders" }, query: { limit: 10 } } });
  const channels = await api.GET("/api/v1/{hash}/channels", { params: { path } });
  const lifecycle = await api.GET("/api/v1/{hash}/lifecycle", { params: { path } });
  const wrong = await api.POST("/api/v1/{hash}/events", { params: { path }, body: { channel: "nowhere", data: 1 } });
  // @ts-expect-error the channel is missing
  void (() => api.POST("/api/v1/{hash}/events", { params: { path }, body: { data: 1 } }));
  // @ts-expect-error there is no such path
  void (() => api.GET("/api/v1/{hash}/nothing", { params: { path } }));
  return {
    live: live.data?.stored, once: once.data?.offset, again: again.data?.duplicate, user: user.error, atomic: atomic.data?.items.length,
    atomicError: atomic.error, history: history.data?.items.length, more: history.data?.more, channels: channels.data?.items,
    lifecycle: typeof lifecycle.data === "object" ? lifecycle.data.items : undefined, wrong: wrong.response.status, code: wrong.error?.code,
  };
}
`;

test("a generated client makes the calls of the examples", async () => {
  const bin = (name) => join(here, "node_modules", ".bin", name);
  execFileSync(bin("openapi-typescript"), [`${server.url}/api/openapi.yaml`, "-o", join(out, "api.ts")], { stdio: "pipe" });
  writeFileSync(join(out, "calls.ts"), source);
  writeFileSync(join(out, "package.json"), '{"type":"module"}');
  const tsc = ["--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "--outDir", out, join(out, "calls.ts")];
  try {
    execFileSync(bin("tsc"), tsc, { stdio: "pipe" });
  } catch (e) {
    assert.fail(e.stdout?.toString() ?? e);
  }
  const { calls } = await import(pathToFileURL(join(out, "calls.js")));
  const got = await calls(server.url, API_KEY);
  assert.equal(got.atomicError, undefined);
  assert.match(got.once, /^[0-9]+$/);
  delete got.once;
  delete got.atomicError;
  assert.deepEqual(got, {
    live: false, again: true, user: undefined, atomic: 2, history: 1, more: false, channels: [], lifecycle: [], wrong: 404, code: "channel_not_found",
  });
});
