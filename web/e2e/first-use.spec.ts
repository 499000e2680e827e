import { Agent, accessible, expect, field, outlook, picture, rungOf, said, send, test } from "./page";

test("the first use ticks itself", async ({ page, bridge }) => {
  await page.goto(bridge.url);
  await expect(page.getByRole("button")).toHaveCount(1);
  await picture(page, "nothing-yet");
  await accessible(page);
  await page.getByRole("button", { name: "New conversation" }).click();
  await expect(page).toHaveURL(/\/dashboard\/ses_/);
  const steps = page.locator(".step");
  await expect(steps).toHaveCount(3);
  await expect(page.locator(".step-done")).toHaveCount(0);
  await expect(outlook(page)).toContainText("No agent is connected; your message waits");
  await picture(page, "first-use");
  await accessible(page);

  const session = page.url().split("/").at(-1) ?? "";
  const agent = new Agent(bridge, session);
  const looking = agent.take();
  await expect(page.locator(".step-done")).toHaveCount(2);
  await expect(outlook(page)).toHaveText(/Claude is listening/);
  await picture(page, "listening");

  await send(page, "Are you there?");
  const taken = await looking;
  expect(taken.message.text).toBe("Are you there?");
  await expect(rungOf(page, "Are you there?")).toHaveText("presented");
  await agent.answer(taken, "I am.");
  await expect(said(page, "I am.")).toBeVisible();
  await expect(rungOf(page, "Are you there?")).toHaveText(/^answered in \d/);
  await expect(page.locator(".step-done")).toHaveCount(3);
  await picture(page, "first-answer");
  await page.getByRole("button", { name: "Done" }).click();
  await expect(steps).toHaveCount(0);
  // The conversation is named after what it began with.
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Are you there?");
});

test("the curl tab lets one play the agent", async ({ page, bridge, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const { id } = await bridge.open();
  await page.goto(bridge.page(id));
  await page.getByRole("tab", { name: "curl" }).click();
  await picture(page, "by-hand");
  const panel = page.getByRole("tabpanel");
  await panel.getByRole("button", { name: "Copy" }).click();
  await expect(panel.getByText("Copied")).toBeAttached();
  const call = await page.evaluate(() => navigator.clipboard.readText());
  const body = JSON.parse(/-d '(.*)'/s.exec(call)?.[1] ?? "") as Record<string, unknown>;
  expect(body["mailbox"]).toBe(`session:${id}/agent`);
  await bridge.call("POST", "/api/receive", { ...body, wait_ms: 0 });
  await expect(page.locator(".presence")).toContainText("curl is listening");
  // What to answer with is still needed, and the tab is remembered.
  await page.reload();
  await expect(page.getByRole("tab", { name: "curl" })).toHaveAttribute("aria-selected", "true");
  await expect(page.getByRole("region", { name: "The answer by hand" })).toBeVisible();
  await expect(field(page)).toBeFocused();
});

test("a conversation that is not there is said to be so", async ({ page, bridge }) => {
  await page.goto(bridge.page("ses_00000000000000000000000000000000"));
  await expect(page.getByRole("heading", { name: "There is no such conversation." })).toBeVisible();
});
