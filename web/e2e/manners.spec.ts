import { readFileSync } from "node:fs";
import { Agent, accessible, expect, field, fits, log, picture, rungOf, said, send, test } from "./page";

const LONG = "https://example.com/a/very/long/address/that/no/line/of/a/telephone/could/ever/hold/without/breaking/it?in=pieces";
const ANSWER = `Read ${LONG}\n\n| a column | another column | and one more column | the last one |\n|---|---|---|---|\n| 1 | 2 | 3 | 4 |\n\n\`\`\`sh\ncargo run --release --package bridge-server -- serve --and-a-long-line --that-scrolls\n\`\`\``;

async function filled(bridge: Parameters<Parameters<typeof test>[2]>[0]["bridge"], title: string) {
  const { id } = await bridge.open(title);
  const agent = new Agent(bridge, id);
  await agent.hear("How do I start it?");
  await agent.answer(await agent.take(), ANSWER);
  await agent.hear("مرحبا، هل يمكنك المساعدة في هذا؟");
  await agent.settle(await agent.take(), "reject", { reason: "I do not have the right to start anything on this machine" });
  await agent.hear("And this one waits");
  return { id, agent };
}

for (const scheme of ["light", "dark"] as const) {
  test(`a telephone, ${scheme}`, async ({ page, bridge }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width: 375, height: 720 });
    const { id } = await filled(bridge, "A conversation with a rather long title");
    await page.goto(bridge.page(id));
    await expect(said(page, "And this one waits")).toBeInViewport();
    await fits(page);
    await expect(page.getByRole("navigation")).toHaveCount(0);
    await picture(page, `telephone-${scheme}`);
    await accessible(page);
    await log(page).evaluate((box) => box.scrollTo(0, 0));
    await picture(page, `telephone-top-${scheme}`);
    await rungOf(page, "How do I start it?").click();
    await expect(page.getByRole("dialog", { name: "Details" })).toBeVisible();
    await picture(page, `telephone-details-${scheme}`);
    await fits(page);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Conversations" }).click();
    await expect(page.getByRole("dialog", { name: "Conversations" })).toBeVisible();
    await picture(page, `telephone-list-${scheme}`);
    await accessible(page);
  });

  test(`a desk, ${scheme}`, async ({ page, bridge }) => {
    await page.emulateMedia({ colorScheme: scheme });
    const { id } = await filled(bridge, "Starting it");
    await bridge.open("Another conversation");
    await page.goto(bridge.page(id));
    await expect(said(page, "And this one waits")).toBeInViewport();
    await fits(page);
    await picture(page, `desk-${scheme}`);
    await accessible(page);
    await page.getByRole("button", { name: "Menu" }).click();
    await expect(page.getByRole("menu")).toBeVisible();
    await picture(page, `menu-${scheme}`);
    await accessible(page);
    await page.keyboard.press("Escape");
    await page.setViewportSize({ width: 900, height: 700 });
    await fits(page);
    await picture(page, `desk-900-${scheme}`);
  });
}

test("everything can be done from the keyboard", async ({ page, bridge }) => {
  const { id } = await filled(bridge, "Keys");
  await page.goto(bridge.page(id));
  await expect(field(page)).toBeFocused();
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keys" })).toBeVisible();
  await picture(page, "keys");
  await accessible(page);
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await page.keyboard.press("k");
  await expect(said(page, "And this one waits")).toBeFocused();
  await page.keyboard.press("k");
  await page.keyboard.press("i");
  const details = page.getByRole("complementary", { name: "Details" });
  await expect(details).toContainText("given up");
  await page.keyboard.press("j");
  await expect(details).not.toContainText("given up");
  await page.keyboard.press("Escape");
  await expect(details).toHaveCount(0);
  await page.keyboard.press("t");
  await page.keyboard.type("Another title");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Another title");
  await expect(page.getByRole("link", { name: /Another title/ })).toBeVisible();
  await page.keyboard.press("a");
  await expect(page.getByRole("dialog", { name: "Connect an agent" })).toBeVisible();
  await picture(page, "connect");
  await accessible(page);
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await page.keyboard.press("c");
  await expect(field(page)).toBeFocused();
  await page.keyboard.press("Escape");
  await page.keyboard.press("n");
  await expect(page.locator(".step")).toHaveCount(3);
  await expect(page).not.toHaveURL(bridge.page(id));
});

test("twice as large, everything still fits", async ({ page, bridge }) => {
  // What zooming a window of 1280 by 800 to 200 % leaves.
  await page.setViewportSize({ width: 640, height: 400 });
  const { id } = await filled(bridge, "Large");
  await page.goto(bridge.page(id));
  await expect(said(page, "And this one waits")).toBeInViewport();
  await fits(page);
  await expect(field(page)).toBeInViewport();
  await picture(page, "zoomed");
  await accessible(page);
});

test("a theme that was chosen stays", async ({ page, bridge }) => {
  const { id } = await bridge.open("Theme");
  await page.goto(bridge.page(id));
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole("button", { name: "Menu" }).click();
  await page.getByRole("menuitemradio", { name: "Dark" }).click();
  expect(await ground()).not.toBe(light);
  const dark = await ground();
  await page.reload();
  await expect(field(page)).toBeVisible();
  expect(await ground()).toBe(dark);
});

test("a conversation can be taken along as one file", async ({ page, bridge }) => {
  const { id } = await filled(bridge, "To take along");
  await page.goto(bridge.page(id));
  await page.getByRole("button", { name: "Menu" }).click();
  const coming = page.waitForEvent("download");
  await page.getByRole("menuitem", { name: "Export as JSON" }).click();
  const file = await coming;
  expect(file.suggestedFilename()).toBe("To-take-along.json");
  const content = JSON.parse(readFileSync(await file.path(), "utf8")) as { session: { id: string }; messages: { text: string; deliveries: unknown[] }[] };
  expect(content.session.id).toBe(id);
  expect(content.messages[0]?.text).toBe("How do I start it?");
  expect(content.messages[0]?.deliveries).toHaveLength(1);
});

test("a notification comes only after one has asked for it", async ({ page, context, bridge }) => {
  await context.grantPermissions(["notifications"], { origin: bridge.url });
  const { id } = await bridge.open("Notify");
  const agent = new Agent(bridge, id);
  await page.addInitScript(() => {
    const shown: string[] = [];
    Object.assign(globalThis, { shown });
    class Note {
      static permission = "granted";
      static requestPermission = async () => "granted";
      constructor(title: string, options: { body: string }) {
        shown.push(`${title}: ${options.body}`);
      }
    }
    Object.assign(globalThis, { Notification: Note });
    Object.defineProperty(document, "visibilityState", { get: () => (Reflect.get(globalThis, "hiddenNow") ? "hidden" : "visible") });
  });
  await page.goto(bridge.page(id));
  const hide = (hidden: boolean) => page.evaluate((now) => void Object.assign(globalThis, { hiddenNow: now }), hidden);
  const shown = () => page.evaluate(() => Reflect.get(globalThis, "shown") as string[]);
  await hide(true);
  await agent.say("unasked");
  await expect(said(page, "unasked")).toBeAttached();
  expect(await shown()).toEqual([]);
  await hide(false);
  await page.getByRole("button", { name: "Menu" }).click();
  await page.getByRole("menuitemcheckbox", { name: "Notify me of answers" }).click();
  await hide(true);
  await agent.hear("question");
  await agent.answer(await agent.take(), "asked for");
  await expect.poll(shown).toEqual(["Claude: asked for"]);
});

test("a change is announced once, and the page does not move for it", async ({ page, bridge }) => {
  const { id } = await bridge.open("Announced");
  const agent = new Agent(bridge, id);
  await page.goto(bridge.page(id));
  await send(page, "Say when");
  await expect(rungOf(page, "Say when")).toHaveText("accepted");
  const place = await said(page, "Say when").boundingBox();
  await agent.take();
  await expect(page.getByRole("status").filter({ hasText: "Say when: presented" })).toBeAttached();
  expect(await said(page, "Say when").boundingBox()).toEqual(place);
  await expect(log(page)).toHaveAttribute("aria-live", "polite");
});

test("those who want less motion see none", async ({ page, bridge }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  const { id } = await bridge.open("Calm");
  const agent = new Agent(bridge, id);
  await agent.hear("Take your time");
  await agent.settle(await agent.take(), "extend", { progress: "thinking" });
  await page.goto(bridge.page(id));
  await expect(rungOf(page, "Take your time")).toHaveText("working: “thinking”");
  const names = await page.evaluate(() => document.getAnimations().length);
  expect(names).toBe(0);
});
