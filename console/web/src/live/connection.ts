import { UNREACHABLE } from "../api/problem";
import { askForToken, authorization } from "../api/token";
import { eventOf, type LiveEvent } from "./events";
import { EventStreamParser } from "./parser";
import { createStore } from "./store";

/** Where the stream stands, and when it last said anything. */
export interface Connection {
  state: "connecting" | "live" | "lost" | "signed out";
  heardAt: number | null;
  /** Why it was lost. */
  why: string | null;
}

export const connection = createStore<Connection>({ state: "connecting", heardAt: null, why: null });

const EVENTS = "/api/rl-training/events";
const WAITS_MS = [250, 500, 1000, 2000, 4000];
/** The status comes at least every 15 s: after this long without a word nobody is there any more. */
const SILENCE_MS = 40_000;

/**
 * Follow the event stream until the signal is aborted. Lost connections are taken up again after the last
 * event that arrived. `EventSource` cannot send a token, so the stream is read with `fetch`.
 */
export async function follow(onEvent: (event: LiveEvent) => void, signal: AbortSignal): Promise<void> {
  let last: string | null = null;
  let failures = 0;
  const over = () => signal.aborted;
  while (!over()) {
    try {
      await listen(last, signal, (event, id) => {
        failures = 0;
        last = id;
        if (event !== null) onEvent(event);
      });
      lost("The console closed the connection");
    } catch (error) {
      if (over()) return;
      if (error instanceof SignedOut) {
        connection.set({ ...connection.get(), state: "signed out", why: null });
        return;
      }
      lost(error instanceof TypeError ? UNREACHABLE.title : String(error));
    }
    await pause(WAITS_MS[Math.min(failures++, WAITS_MS.length - 1)] ?? 0, signal);
  }
}

class SignedOut extends Error {}

function lost(why: string): void {
  connection.set({ ...connection.get(), state: "lost", why });
}

async function listen(
  last: string | null,
  signal: AbortSignal,
  onMessage: (event: LiveEvent | null, id: string | null) => void,
): Promise<void> {
  const silence = new AbortController();
  const watch = () => setTimeout(() => silence.abort(new Error("nothing was heard of it")), SILENCE_MS);
  let timer = watch();
  try {
    const headers = { ...authorization(), Accept: "text/event-stream", ...(last !== null && { "Last-Event-ID": last }) };
    const response = await fetch(EVENTS, {
      headers,
      cache: "no-store",
      signal: AbortSignal.any([signal, silence.signal]),
    });
    if (response.status === 401) {
      askForToken();
      throw new SignedOut();
    }
    if (!response.ok || response.body === null) throw new Error(`the event stream answered ${response.status}`);
    connection.set({ state: "live", heardAt: Date.now(), why: null });
    const parser = new EventStreamParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = watch();
      connection.set({ state: "live", heardAt: Date.now(), why: null });
      for (const message of parser.push(value)) onMessage(eventOf(message), message.id);
    }
  } finally {
    clearTimeout(timer);
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
