// Builds dist/fanfare.js: one minified ES module. The same sources and locked tools give the same bytes.
import { build } from "esbuild";
import { gzipSync } from "node:zlib";
import { readFileSync, rmSync } from "node:fs";

process.chdir(import.meta.dirname);
rmSync("dist", { recursive: true, force: true });
await build({
  entryPoints: ["src/index.ts"],
  outfile: "dist/fanfare.js",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  mangleProps: /^_[a-z]/,
  legalComments: "none",
  banner: { js: "/* Fanfare browser client; built from web/client/src by npm run build */" },
});
const bytes = readFileSync("dist/fanfare.js");
console.log(`dist/fanfare.js ${bytes.length} bytes, ${gzipSync(bytes, { level: 9 }).length} compressed`);
