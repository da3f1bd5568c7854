// Proves that dist/ is what the sources give: builds it anew and compares with what is committed.
import { execFileSync } from "node:child_process";

process.chdir(import.meta.dirname);
const run = (command, ...args) => execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
console.log(run("npm", "run", "--silent", "build").trim());
const changed = run("git", "status", "--porcelain", "--", "dist").trim();
if (changed) {
  console.error(`dist is not what the sources give; run npm run build and commit it:\n${changed}`);
  process.exit(1);
}
console.log("dist is current");
