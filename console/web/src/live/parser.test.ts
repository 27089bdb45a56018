import { describe, expect, it } from "vitest";

import { EventStreamParser, type StreamMessage } from "./parser";

const STREAM =
  "\uFEFFretry: 1000\n\n: a comment\n\nid: 7.2\nevent: episode\ndata: {\"a\":\ndata: 1}\n\nevent: status\r\ndata:x\r\n\r\ndata\rid\rdata: y\r\r";

const MESSAGES: StreamMessage[] = [
  { event: "episode", data: '{"a":\n1}', id: "7.2" },
  { event: "status", data: "x", id: "7.2" },
  { event: "message", data: "\ny", id: "" },
];

function read(chunks: string[]): StreamMessage[] {
  const parser = new EventStreamParser();
  // A last line shows that a CR at the very end was not taken for half of a CRLF.
  return [...chunks, ":\n"].flatMap((chunk) => parser.push(chunk));
}

describe("EventStreamParser", () => {
  it("reads fields, comments, all line ends and a byte order mark", () => {
    expect(read([STREAM])).toEqual(MESSAGES);
  });

  it("reads the same wherever the chunks end", () => {
    for (let cut = 1; cut < STREAM.length; cut++) {
      expect(read([STREAM.slice(0, cut), STREAM.slice(cut)]), `cut at ${cut}`).toEqual(MESSAGES);
    }
    expect(read(Array.from(STREAM))).toEqual(MESSAGES);
  });

  it("tells nothing before the empty line", () => {
    const parser = new EventStreamParser();
    expect(parser.push("event: status\ndata: {}\n")).toEqual([]);
    expect(parser.push("\n")).toHaveLength(1);
  });

  it("leaves out an event without data, and its name", () => {
    expect(read(["event: status\n\ndata: 1\n\n"])).toEqual([{ event: "message", data: "1", id: null }]);
  });

  it("does not take an id with a null character", () => {
    expect(read(["id: 1\n\nid: 2\0\ndata: 1\n\n"])[0]?.id).toBe("1");
  });
});
