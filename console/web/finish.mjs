// After the build: compress what is served, and note which sources the page was built from.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = fileURLToPath(new URL(".", import.meta.url));
const page = join(here, "../static");
const SOURCES = [
  "client.mjs", "finish.mjs", "index.html", "openapi.json", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts",
];

function filesUnder(folder) {
  return readdirSync(join(here, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(here.length).replaceAll("\\", "/"));
}

function sha256(content) {
  return createHash("sha256").update(content).digest("hex");
}

function compress(path) {
  const packed = gzipSync(readFileSync(path), { level: 9 });
  // Neither the time nor the system that compressed it stands in the header: same page, same bytes.
  packed.fill(0, 4, 8);
  packed[9] = 255;
  writeFileSync(`${path}.gz`, packed);
}

for (const entry of readdirSync(page, { recursive: true, withFileTypes: true })) {
  if (entry.isFile() && /\.(js|css|html|svg)$/.test(entry.name)) compress(join(entry.parentPath, entry.name));
}
const lines = [...SOURCES, ...filesUnder("src"), ...filesUnder("public")]
  .sort()
  .map((path) => `${sha256(readFileSync(join(here, path)))}  ${path}\n`);
writeFileSync(join(page, "build.json"), `${JSON.stringify({ sources: sha256(lines.join("")) })}\n`);
