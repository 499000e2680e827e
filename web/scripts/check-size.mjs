// Fails the build if what a browser fetches before anything is clicked is larger than it may be.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const LIMIT = 150 * 1000;
const dist = new URL("../dist/", import.meta.url).pathname;
const size = (file) => gzipSync(readFileSync(join(dist, file)), { level: 9 }).length;

const html = readFileSync(join(dist, "index.html"), "utf8");
const first = new Set(["index.html"]);
const queue = [...html.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map((found) => found[1]);
while (queue.length > 0) {
  const file = queue.pop();
  if (first.has(file)) continue;
  first.add(file);
  if (!file.endsWith(".js")) continue;
  // Static imports only: what is imported by a call is fetched later.
  const code = readFileSync(join(dist, file), "utf8");
  for (const [, name] of code.matchAll(/(?:^|[;}\s])(?:import|export)\s*(?:[\w*{][^"'()]*?from\s*)?["']\.\/([\w.-]+\.js)["']/g)) {
    queue.push(`assets/${name}`);
  }
}

const total = [...first].reduce((sum, file) => sum + size(file), 0);
const later = readdirSync(join(dist, "assets"))
  .map((file) => `assets/${file}`)
  .filter((file) => !first.has(file));
for (const file of first) console.log(`${String(size(file)).padStart(8)}  ${file}`);
console.log(`${String(total).padStart(8)}  first load, gzip, of ${LIMIT}`);
for (const file of later) console.log(`${String(size(file)).padStart(8)}  later: ${file}`);
if (total > LIMIT) {
  console.error("the first load is too large");
  process.exit(1);
}
