interface Invalid {
  at: string;
  message: string;
}

interface Held {
  parameter: string;
  value: number;
  by: string;
}

interface Members {
  type?: string;
  title?: string;
  detail?: string;
  parameter?: string;
  low?: number;
  high?: number;
  holder?: string;
  session?: string;
  scenario?: string;
  scope?: string;
  until?: string;
  run_url?: string;
  errors?: Invalid[];
  holds?: Held[];
}

/** What the API refused, with what it named: the bound, the holder, the parameter (RFC 9457). */
export class Problem extends Error {
  readonly status: number;
  readonly kind: string;
  readonly title: string;
  readonly members: Members;

  constructor(status: number, members: Members) {
    super(members.detail ?? members.title ?? `the console answered ${status}`);
    this.status = status;
    this.kind = members.type?.split(":").at(-1) ?? "unknown";
    this.title = members.title ?? "Not possible";
    this.members = members;
  }

  /** Whether another try can help: the console was not reached, or not able to answer. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 502;
  }
}

export const UNREACHABLE = {
  type: "urn:engine:problem:console-unreachable",
  title: "The console does not answer",
  detail: "It may have been stopped. Start it with: make ui. This page goes on by itself once it is back.",
};

export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof TypeError) return new Problem(0, UNREACHABLE);
  return new Problem(0, { title: "Something failed in this page", detail: String(error) });
}
