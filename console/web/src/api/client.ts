import createClient from "openapi-fetch";

import { Problem, UNREACHABLE } from "./problem";
import type { paths } from "./schema";
import { askForToken, authorization } from "./token";

export const api = createClient<paths>({ baseUrl: window.location.origin });

api.use({
  onRequest({ request }) {
    for (const [name, value] of Object.entries(authorization())) request.headers.set(name, value);
  },
  onResponse({ response }) {
    if (response.status === 401) askForToken();
  },
  onError() {
    return new Problem(0, UNREACHABLE);
  },
});

interface Answer<Data> {
  data?: Data;
  error?: unknown;
  response: Response;
}

/** The data of an answer; what was refused is thrown as a `Problem`. */
export async function answered<Data>(asked: Promise<Answer<Data>>): Promise<Data> {
  const { data, error, response } = await asked;
  if (data !== undefined && response.ok) return data;
  const members = typeof error === "object" && error !== null ? error : {};
  throw new Problem(response.status, members);
}

/** A name for one wish, under which the API fulfils it once however often it arrives. */
export function newKey(): string {
  // randomUUID is there on loopback and over https alone.
  if (window.isSecureContext) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
