// Builds dist/: the page, one script, one style sheet. The same sources and locked tools give the same bytes.
import { build } from "esbuild";
import { copyFileSync, rmSync, statSync } from "node:fs";

process.chdir(import.meta.dirname);
rmSync("dist", { recursive: true, force: true });
await build({
  entryPoints: { demo: "src/main.ts", "demo-style": "src/style.css" },
  entryNames: "[name]",
  outdir: "dist",
  bundle: true,
  format: "esm",
  target: ["es2022", "chrome123", "firefox120", "safari17.5"],
  minify: true,
  legalComments: "none",
  // The client comes from the server that serves this page.
  external: ["../client.js"],
});
for (const name of ["index.html", "icon.svg"]) copyFileSync("src/" + name, "dist/" + name);
for (const name of ["index.html", "demo.js", "demo-style.css", "icon.svg"]) console.log(`dist/${name} ${statSync("dist/" + name).size} bytes`);
