import { inWords } from "./names";
import { utc } from "./times";

const HASH = /^[0-9a-f]{32,}$/;
const MOMENT = /^\d{4}-\d\d-\d\dT/;

/** What the API says of a state, in words: hashes by their first digits, moments in UTC, held values by name. */
export function written(value: unknown): string {
  if (value === null || value === undefined) return "none";
  if (typeof value === "string") return HASH.test(value) ? `${value.slice(0, 12)}…` : MOMENT.test(value) ? `${utc(value)} UTC` : value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value)) return value.map(written).join(", ") || "none";
  const { parameter, value: held, actor } = value as Record<string, unknown>;
  if (parameter !== undefined) return `${written(parameter)} ${written(held)}${actor === undefined ? "" : ` by ${written(actor)}`}`;
  return Object.entries(value).map(([name, each]) => `${inWords(name)} ${written(each)}`).join(", ") || "none";
}
