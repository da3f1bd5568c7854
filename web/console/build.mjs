// Builds dist/: the page, one script, one style sheet. The same sources and locked tools give the same bytes.
import { build } from "esbuild";
import { copyFileSync, readFileSync, rmSync } from "node:fs";
import { gzipSync } from "node:zlib";

process.chdir(import.meta.dirname);
rmSync("dist", { recursive: true, force: true });
await build({
  entryPoints: { console: "src/main.tsx" },
  entryNames: "[name]",
  outdir: "dist",
  bundle: true,
  format: "esm",
  jsx: "automatic",
  target: ["es2022", "chrome123", "firefox120", "safari17.5"],
  define: { "process.env.NODE_ENV": '"production"' },
  minify: true,
  legalComments: "none",
  // The client comes from the server that serves this page.
  external: ["../client.js"],
});
for (const name of ["index.html", "icon.svg"]) copyFileSync("src/" + name, "dist/" + name);
let total = 0;
for (const name of ["index.html", "console.js", "console.css", "icon.svg"]) {
  const bytes = readFileSync("dist/" + name);
  const small = gzipSync(bytes, { level: 9 }).length;
  total += small;
  console.log(`dist/${name} ${bytes.length} bytes, ${small} compressed`);
}
if (total > 300 * 1024) throw new Error(`${total} bytes compressed: the console must stay below 300 KiB`);
