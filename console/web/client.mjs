// From openapi.json: the types of the client, and the bounds of what a training is asked for.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const KEPT = ["default", "description", "enum", "minimum", "exclusiveMinimum", "maximum"];

execFileSync(process.execPath, [
  here("node_modules/openapi-typescript/bin/cli.js"), here("openapi.json"), "--output", here("src/api/schema.d.ts"),
], { stdio: "inherit" });

const { properties } = JSON.parse(readFileSync(here("openapi.json"))).components.schemas.StartScenario;
const bounds = Object.fromEntries(
  Object.entries(properties).map(([name, schema]) => {
    const found = Object.assign({}, ...(schema.anyOf ?? []), schema);
    return [name, Object.fromEntries(KEPT.filter((key) => key in found).map((key) => [key, found[key]]))];
  }),
);
writeFileSync(here("src/api/order.json"), `${JSON.stringify(bounds, null, 2)}\n`);
