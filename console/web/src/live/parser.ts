/** One message of an event stream. */
export interface StreamMessage {
  event: string;
  data: string;
  id: string | null;
}

/**
 * Read an event stream as the HTML standard has it: chunks may end anywhere, lines end with LF, CR or CRLF.
 *
 * `id` is the last one that the stream named, so that reading can go on after it.
 */
export class EventStreamParser {
  private rest = "";
  private event = "";
  private data: string[] = [];
  private id: string | null = null;
  private begun = false;

  push(chunk: string): StreamMessage[] {
    this.rest += chunk;
    if (!this.begun && this.rest !== "") {
      this.begun = true;
      this.rest = this.rest.replace(/^\uFEFF/, "");
    }
    const found: StreamMessage[] = [];
    for (;;) {
      const end = this.rest.search(/[\r\n]/);
      // A CR at the very end may be the first half of a CRLF.
      if (end === -1 || (this.rest[end] === "\r" && end === this.rest.length - 1)) return found;
      const width = this.rest.startsWith("\r\n", end) ? 2 : 1;
      const line = this.rest.slice(0, end);
      this.rest = this.rest.slice(end + width);
      const message = this.take(line);
      if (message !== null) found.push(message);
    }
  }

  private take(line: string): StreamMessage | null {
    if (line === "") return this.dispatch();
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.event = value;
    else if (name === "data") this.data.push(value);
    else if (name === "id" && !value.includes("\0")) this.id = value;
    return null;
  }

  private dispatch(): StreamMessage | null {
    const message = { event: this.event || "message", data: this.data.join("\n"), id: this.id };
    const empty = this.data.length === 0;
    this.event = "";
    this.data = [];
    return empty ? null : message;
  }
}
