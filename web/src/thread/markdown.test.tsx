import { render, screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { Markdown, safeAddress } from "./Markdown";

describe("text is data", () => {
  it("shows HTML as the letters it is made of", () => {
    const { container } = render(<Markdown text={'<img src=x onerror="alert(1)"> <b>bold</b>\n\n<script>alert(1)</script>'} />);
    expect(container.querySelector("img, b, script")).toBeNull();
    expect(container.textContent).toContain("<script>alert(1)</script>");
  });

  it.each(["javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "//evil.example", "/api/sessions", "blob:x"])("does not link to %s", (address) => {
    expect(safeAddress(address)).toBe("");
    const { container } = render(<Markdown text={`[here](<${address}>)`} />);
    expect(container.querySelector("a")).toBeNull();
    expect(container.textContent).toBe("here");
  });

  it("links outside without telling where from", () => {
    render(<Markdown text="[docs](https://example.com/a?b#c) and <mailto:a@example.com>" />);
    const link = screen.getByRole("link", { name: "docs" });
    expect(link.getAttribute("href")).toBe("https://example.com/a?b#c");
    expect(link.getAttribute("rel")).toContain("noopener");
    expect(link.getAttribute("rel")).toContain("noreferrer");
    expect(link.getAttribute("target")).toBe("_blank");
  });

  it("fetches no picture", () => {
    const { container } = render(<Markdown text="![secret](https://evil.example/x.png?q=1) ![](data:image/png;base64,AA)" />);
    expect(container.querySelector("img")).toBeNull();
    expect(screen.getByRole("link", { name: "Image: secret (evil.example)" })).toBeTruthy();
  });
});

it("shows tables, lists, and code with its language and a way to copy it", () => {
  const { container } = render(<Markdown text={"| a | b |\n|---|--:|\n| 1 | 2 |\n\n- [x] done\n- [ ] open\n\n```rust\nfn main() {}\n```\n\n    indented"} />);
  expect(screen.getByRole("table")).toBeTruthy();
  expect(screen.getByRole("img", { name: "done" })).toBeTruthy();
  expect(container.querySelector("figcaption")?.textContent).toContain("rust");
  expect(container.querySelector("pre")?.textContent).toBe("fn main() {}\n");
  expect(screen.getAllByRole("button", { name: /Copy/ })).toHaveLength(2);
});

it("lets each message choose its direction", () => {
  const { container } = render(<Markdown text="مرحبا" />);
  expect(container.firstElementChild?.getAttribute("dir")).toBe("auto");
});
