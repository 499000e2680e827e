import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { createRef } from "react";
import { expect, it, vi } from "vitest";
import { Composer } from "./Composer";

function show(change: { closed?: boolean; draft?: string } = {}) {
  const onSend = vi.fn();
  const store = { draft: async () => change.draft ?? "", keepDraft: vi.fn(async () => undefined) };
  render(
    <Composer session="ses_1" store={store} outlook="Claude is listening" tone="good" closed={change.closed ?? false} onSend={onSend} onNew={() => undefined} field={createRef<HTMLTextAreaElement>()} handed={undefined} />,
  );
  return { onSend, store, field: screen.getByRole<HTMLTextAreaElement>("textbox", { name: "Message" }) };
}

it("sends with Enter and breaks the line with Shift+Enter", async () => {
  const { onSend, field } = show();
  await userEvent.type(field, "one{Shift>}{Enter}{/Shift}two{Enter}");
  expect(onSend).toHaveBeenCalledExactlyOnceWith("one\ntwo");
  expect(field.value).toBe("");
});

it("sends nothing that is empty", async () => {
  const { onSend, field } = show();
  await userEvent.type(field, "  {Enter}");
  expect(onSend).not.toHaveBeenCalled();
});

it("is left with Escape and keeps what was typed", async () => {
  const { field } = show();
  await userEvent.type(field, "half{Escape}");
  expect(document.activeElement).not.toBe(field);
  expect(field.value).toBe("half");
});

it("does not touch anything on Up", async () => {
  const { field, onSend } = show();
  await userEvent.type(field, "{ArrowUp}");
  expect(field.value).toBe("");
  expect(onSend).not.toHaveBeenCalled();
});

it("brings the draft back", async () => {
  const { field } = show({ draft: "half a sen" });
  await vi.waitFor(() => expect(field.value).toBe("half a sen"));
});

it("says what will happen, and that to screen readers too", () => {
  const { field } = show();
  expect(field.getAttribute("aria-describedby")).toBe("outlook");
  expect(document.getElementById("outlook")?.textContent).toContain("Claude is listening");
});

it("takes nothing when the conversation is closed", () => {
  const { field } = show({ closed: true });
  expect(field.disabled).toBe(true);
  expect(screen.getByRole("button", { name: "New conversation" })).toBeTruthy();
});
