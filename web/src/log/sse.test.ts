import { expect, it } from "vitest";
import { sseParser } from "./sse";

const TEXT = ': hello\n\nid: a.1\ndata: {"n":1}\n\nid: a.2\r\ndata: one\r\ndata: two\r\n\r\nevent: gap\ndata: {}\n\n';
const EVENTS = [
  { id: "a.1", event: "message", data: '{"n":1}' },
  { id: "a.2", event: "message", data: "one\ntwo" },
  { id: "a.2", event: "gap", data: "{}" },
];

it("reads the same events wherever the pieces end", () => {
  for (let at = 0; at <= TEXT.length; at += 1) {
    const parse = sseParser();
    expect([...parse(TEXT.slice(0, at)), ...parse(TEXT.slice(at))]).toEqual(EVENTS);
  }
  const parse = sseParser();
  expect([...TEXT].flatMap((letter) => parse(letter))).toEqual(EVENTS);
});

it("gives nothing for an event that is not complete", () => {
  expect(sseParser()("id: a.1\ndata: {}\n")).toEqual([]);
});
