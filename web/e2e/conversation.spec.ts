import { Agent, accessible, expect, field, log, outlook, picture, rungOf, said, send, test } from "./page";

const ANSWER = `The join on \`events\` stopped using its index:

| step | usual | last night |
|---|--:|--:|
| load | 6 min | 7 min |
| join | 21 min | **3 h 10 min** |

To see it yourself:

\`\`\`sql
explain analyze
select e.id, u.name from events e join users u on u.id = e.user_id where e.at > now() - interval '1 day' and e.kind in ('login', 'logout');
\`\`\`

- [x] found the plan
- [ ] pin the statistics`;

test("a message climbs its ladder and is answered", async ({ page, bridge }) => {
  const { id } = await bridge.open("Why is the nightly job slow");
  const agent = new Agent(bridge, id);
  await page.goto(bridge.page(id));
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Why is the nightly job slow");
  await send(page, "The nightly job took 4 hours.\nCan you look at the logs?");
  const rung = rungOf(page, "The nightly job");
  await expect(rung).toHaveText("accepted");
  await expect(outlook(page)).toContainText("No agent is connected; your message waits (1 before it)");

  const taken = await agent.take();
  await expect(rung).toHaveText("presented");
  await expect(page.locator(".presence")).toContainText("Claude is working");
  await agent.settle(taken, "extend", { progress: "reading the logs" });
  await expect(rung).toHaveText("working: “reading the logs”");
  await picture(page, "working");
  await accessible(page);

  await agent.answer(taken, ANSWER);
  await expect(rung).toHaveText(/^answered in \d/);
  await expect(page.getByRole("table")).toBeVisible();
  await expect(said(page, "The join on").getByRole("button", { name: "Copy" })).toBeVisible();
  await picture(page, "answered");
  await accessible(page);
});

test("the details tell the times, the attempts and who held it", async ({ page, bridge }) => {
  const { id } = await bridge.open("Details");
  const agent = new Agent(bridge, id);
  await agent.hear("Run the tests");
  await agent.settle(await agent.take(), "nack", { delay_ms: 0, reason: "the tests do not build" });
  await agent.answer(await agent.take(), "They pass.");
  await page.goto(bridge.page(id));
  await rungOf(page, "Run the tests").click();
  const details = page.getByRole("complementary", { name: "Details" });
  await expect(details.getByRole("listitem")).toContainText(["accepted", "presented", "answered"]);
  const attempts = details.getByRole("table");
  await expect(attempts).toContainText("the tests do not build");
  await expect(attempts.getByRole("cell", { name: "claude-7f3a" })).toHaveCount(2);
  await details.getByText("As JSON").click();
  await expect(details.getByRole("region", { name: "The message as JSON" })).toContainText('"receipts"');
  await picture(page, "details");
  await accessible(page);
  await page.keyboard.press("Escape");
  await expect(details).toHaveCount(0);

  await page.setViewportSize({ width: 900, height: 800 });
  await rungOf(page, "Run the tests").click();
  await expect(page.getByRole("dialog", { name: "Details" })).toBeVisible();
  await picture(page, "details-900");
  await accessible(page);
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toHaveCount(0);
});

test("two tabs show the same and send once", async ({ page, context, bridge }) => {
  const { id } = await bridge.open("Two tabs");
  const agent = new Agent(bridge, id);
  const other = await context.newPage();
  await page.goto(bridge.page(id));
  await other.goto(bridge.page(id));
  await send(page, "from the first");
  await expect(rungOf(other, "from the first")).toHaveText("accepted");
  await send(other, "from the second");
  await expect(rungOf(page, "from the second")).toHaveText("accepted");
  await agent.answer(await agent.take(), "to both");
  await expect(said(page, "to both")).toBeVisible();
  await expect(said(other, "to both")).toBeVisible();
  // The tab that follows the log goes; the other one takes over where it was.
  await page.close();
  await agent.answer(await agent.take(), "to the one that is left");
  await expect(said(other, "to the one that is left")).toBeVisible();
  await expect(log(other).locator("article")).toHaveCount(4);
  const { data } = await bridge.call<{ data: unknown[] }>("GET", `/api/sessions/${id}/messages`);
  expect(data).toHaveLength(4);
});

test("more tabs than a browser has connections all follow", async ({ page, context, bridge }) => {
  const { id } = await bridge.open("Many tabs");
  const agent = new Agent(bridge, id);
  const tabs = [page, ...(await Promise.all(Array.from({ length: 7 }, () => context.newPage())))];
  for (const tab of tabs) {
    await tab.goto(bridge.page(id));
    await expect(outlook(tab)).toContainText("No agent");
  }
  await send(tabs[7] ?? page, "from the eighth");
  await agent.answer(await agent.take(), "to all");
  for (const tab of tabs) {
    await expect(said(tab, "to all")).toBeVisible();
    await expect(rungOf(tab, "from the eighth")).toHaveText(/answered/);
  }
});

test("a message can be taken back", async ({ page, bridge }) => {
  const { id } = await bridge.open("Taking back");
  const agent = new Agent(bridge, id);
  await page.goto(bridge.page(id));
  await send(page, "Never mind");
  // Before it is accepted there is nothing to look at.
  await expect(rungOf(page, "Never mind")).toHaveText("accepted");
  await rungOf(page, "Never mind").click();
  const details = page.getByRole("complementary", { name: "Details" });
  await details.getByRole("button", { name: "Take back" }).click();
  await expect(rungOf(page, "Never mind")).toHaveText("Taken back before it was answered.");
  await details.getByRole("button", { name: "Send again" }).click();
  await expect(rungOf(page, "Never mind")).toHaveText("accepted");

  // What an agent already has, it is asked for.
  const taken = await agent.take();
  await expect(rungOf(page, "Never mind")).toHaveText("presented");
  await details.getByRole("button", { name: "Take back" }).click();
  await expect(rungOf(page, "Never mind")).toHaveText("Asked back; the agent still has it.");
  await agent.settle(taken, "release");
  await expect(rungOf(page, "Never mind")).toHaveText("Taken back before it was answered.");
});

test("a reload changes nothing, and a draft is still there", async ({ page, bridge }) => {
  const { id } = await bridge.open("Reload");
  const agent = new Agent(bridge, id);
  await page.goto(bridge.page(id));
  await send(page, "one");
  await expect(rungOf(page, "one")).toHaveText("accepted");
  await agent.answer(await agent.take(), "two");
  await expect(rungOf(page, "one")).toHaveText(/answered/);
  const shown = () => log(page).locator("article").allInnerTexts();
  const before = await shown();
  await field(page).fill("half a sen");
  await page.waitForTimeout(600);
  await page.reload();
  await expect(said(page, "two")).toBeVisible();
  expect(await shown()).toEqual(before);
  await expect(field(page)).toHaveValue("half a sen");
});

test("what was not seen is counted, and no longer once it was", async ({ page, bridge }) => {
  const one = await bridge.open("One");
  const two = await bridge.open("Two");
  await page.goto(bridge.page(one.id));
  const line = page.getByRole("link", { name: /Two/ });
  await expect(line).toBeVisible();
  await new Agent(bridge, two.id).say("The job is done.");
  await new Agent(bridge, two.id).say("All went well.");
  await expect(line).toContainText("2 unread");
  await expect(line).toContainText("All went well.");
  await expect(page).toHaveTitle("(2) One");
  await picture(page, "unread");
  await line.click();
  await expect(said(page, "All went well.")).toBeVisible();
  await expect(page).toHaveTitle("Two");
  const { unread } = await bridge.call<{ unread: number }>("GET", `/api/sessions/${two.id}`);
  expect(unread).toBe(0);
});

test("the thread stays at its end only if it was there", async ({ page, bridge }) => {
  const { id } = await bridge.open("Long");
  const agent = new Agent(bridge, id);
  for (let n = 1; n <= 30; n += 1) {
    await agent.say(`line ${n} of the report`);
  }
  await page.goto(bridge.page(id));
  await expect(said(page, "line 30 of")).toBeInViewport();
  await agent.say("line 31 of the report");
  await expect(said(page, "line 31 of")).toBeInViewport();
  await log(page).evaluate((box) => box.scrollTo(0, 300));
  await expect(page.getByRole("button", { name: "Latest" })).toBeVisible();
  const top = await log(page).evaluate((box) => box.scrollTop);
  for (let n = 32; n <= 34; n += 1) {
    await agent.say(`line ${n} of the report`);
  }
  await expect(page.getByRole("button", { name: "3 new" })).toBeVisible();
  expect(await log(page).evaluate((box) => box.scrollTop)).toBe(top);
  await picture(page, "three-new");
  await page.getByRole("button", { name: "3 new" }).click();
  await expect(said(page, "line 34 of")).toBeInViewport();
});

test("a long thread loads upwards without jumping, and holds few messages in the page", async ({ page, bridge }) => {
  test.slow();
  const { id } = await bridge.open("Very long");
  const agent = new Agent(bridge, id);
  for (let n = 1; n <= 300; n += 10) {
    await Promise.all(Array.from({ length: 10 }, (_, at) => agent.say(`entry ${n + at} ${"of the report ".repeat((n + at) % 9)}`)));
  }
  await page.goto(bridge.page(id));
  await expect(log(page).locator("article").last()).toBeInViewport();
  for (let turn = 0; turn < 12; turn += 1) {
    await log(page).evaluate((box) => box.scrollTo(0, 0));
    await page.waitForTimeout(250);
  }
  await log(page).evaluate((box) => box.scrollTo(0, 0));
  await expect(log(page).getByText(/^entry ([1-9]|10) /).first()).toBeInViewport();
  expect(await log(page).locator("article").count()).toBeLessThan(80);
  await page.getByRole("button", { name: "Latest" }).click();
  await expect(log(page).locator("article").last()).toBeInViewport();
  await agent.say("the very last");
  await expect(said(page, "the very last")).toBeInViewport();
});
