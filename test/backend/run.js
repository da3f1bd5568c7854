// Builds the server unless FANFARE_BIN names one, and runs the tests.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
let scratch;
if (!process.env.FANFARE_BIN) {
  scratch = mkdtempSync(join(tmpdir(), "fanfare-bin-"));
  process.env.FANFARE_BIN = join(scratch, "fanfare");
  execFileSync("go", ["build", "-o", process.env.FANFARE_BIN, "./cmd/fanfare"], { cwd: resolve(here, "../.."), stdio: "inherit" });
}
process.env.FANFARE_BIN = resolve(process.env.FANFARE_BIN);
const files = readdirSync(join(here, "tests")).filter((n) => n.endsWith(".test.js")).map((n) => join(here, "tests", n));
const child = spawn(process.execPath, ["--test", "--test-force-exit", "--test-timeout=120000", "--test-reporter=spec", ...files], { stdio: "inherit" });
child.on("exit", (code, signal) => {
  if (scratch) rmSync(scratch, { recursive: true, force: true });
  process.exit(signal ? 1 : code);
});
