import { Agent, accessible, expect, field, fits, outlook, picture, rungOf, said, send, test } from "./page";

test("the bridge is killed in the middle and comes back", async ({ page, bridge }) => {
  const { id } = await bridge.open("Power cut");
  const agent = new Agent(bridge, id);
  await page.goto(bridge.page(id));
  await send(page, "before the cut");
  const taken = await agent.take();
  await expect(rungOf(page, "before the cut")).toHaveText("presented");
  await bridge.kill();
  await expect(page.locator(".connection")).toContainText(/No connection since \d\d:\d\d:\d\d\. Trying again\./);
  await send(page, "during the cut");
  await expect(rungOf(page, "during the cut")).toHaveText("Not sent: no connection. It stays here and goes by itself.");
  await expect(outlook(page)).toContainText("Offline; 1 message kept here");
  await picture(page, "offline");
  await accessible(page);
  await bridge.resume();
  await expect(page.locator(".connection")).toBeEmpty();
  await expect(rungOf(page, "during the cut")).toHaveText("accepted");
  // The lease has outlived the process: its late answer counts.
  await agent.answer(taken, "after the cut");
  await expect(said(page, "after the cut")).toBeVisible();
  await expect(rungOf(page, "before the cut")).toHaveText(/answered/);
  const { data } = await bridge.call<{ data: { text: string }[] }>("GET", `/api/sessions/${id}/messages`);
  expect(data.map(({ text }) => text)).toEqual(["before the cut", "during the cut", "after the cut"]);
});

test("what is written offline survives the tab and goes by itself", async ({ page, context, bridge }) => {
  const { id } = await bridge.open("Offline");
  await page.goto(bridge.page(id));
  await expect(outlook(page)).toContainText("No agent");
  await bridge.kill();
  await send(page, "first");
  await send(page, "second");
  await expect(rungOf(page, "second")).toHaveText(/^Not sent/);
  await page.close();
  await bridge.resume();
  const later = await context.newPage();
  await later.goto(bridge.page(id));
  await expect(rungOf(later, "first")).toHaveText("accepted");
  await expect(rungOf(later, "second")).toHaveText("accepted");
  const { data } = await bridge.call<{ data: { text: string }[] }>("GET", `/api/sessions/${id}/messages`);
  expect(data.map(({ text }) => text)).toEqual(["first", "second"]);
});

test("the browser goes offline and returns", async ({ page, context, bridge }) => {
  const { id } = await bridge.open("Tunnel");
  await page.goto(bridge.page(id));
  await expect(outlook(page)).toContainText("No agent");
  await context.setOffline(true);
  await send(page, "from the tunnel");
  await expect(rungOf(page, "from the tunnel")).toHaveText(/^Not sent/);
  await context.setOffline(false);
  await expect(rungOf(page, "from the tunnel")).toHaveText("accepted");
});

test("an answer that was lost on the way leaves one message", async ({ page, bridge }) => {
  const { id } = await bridge.open("Lost answer");
  let lost = false;
  await page.route("**/messages", async (route) => {
    if (route.request().method() === "POST" && !lost) {
      lost = true;
      await route.fetch();
      await route.abort("connectionreset");
    } else {
      await route.continue();
    }
  });
  await page.goto(bridge.page(id));
  await send(page, "only once");
  await expect(rungOf(page, "only once")).toHaveText("accepted");
  await page.waitForTimeout(3000);
  await expect(said(page, "only once")).toHaveCount(1);
  const { data } = await bridge.call<{ data: unknown[] }>("GET", `/api/sessions/${id}/messages`);
  expect(data).toHaveLength(1);
});

test("the agent falls silent", async ({ page, bridge }) => {
  const { id } = await bridge.open("Silence");
  const agent = new Agent(bridge, id);
  await page.goto(bridge.page(id));
  await send(page, "Are you still there?");
  await agent.take({ lease_ms: 1000 });
  const rung = rungOf(page, "Are you still there?");
  await expect(rung).toHaveText(/^The agent took it and fell silent\. Handed out again in \d+ s \(attempt 2 of 5\)\.$/);
  await picture(page, "fell-silent");
  await accessible(page);
  await agent.answer(await agent.take(), "Back again.");
  await expect(rung).toHaveText(/answered/);
});

test("a message is given up and sent again", async ({ page, bridge }) => {
  const { id } = await bridge.open("Given up");
  const agent = new Agent(bridge, id);
  await page.goto(bridge.page(id));
  await send(page, "Run the tests");
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    await agent.settle(await agent.take(), "nack", { delay_ms: 0, reason: "the tests do not build" });
  }
  const message = said(page, "Run the tests");
  await expect(message.locator(".rung")).toHaveText("Given up after 5 attempts: the agent stopped each time, at last with “the tests do not build”.");
  // What the bridge tells the sender of it is no message to be read.
  await expect(page.locator("article")).toHaveCount(1);
  await picture(page, "given-up");
  await accessible(page);
  await message.getByRole("button", { name: "Send again" }).click();
  await expect(message.locator(".rung")).toHaveText("accepted");
  await agent.answer(await agent.take(), "They pass now.");
  await expect(message.locator(".rung")).toHaveText(/answered/);
});

test("ends that the agent or the time have made", async ({ page, bridge }) => {
  const { id } = await bridge.open("Ends");
  const agent = new Agent(bridge, id, "cursor-12ab");
  await page.goto(bridge.page(id));
  await agent.hear("Send the money");
  await agent.settle(await agent.take(), "reject", { reason: "I may not do that" });
  await expect(rungOf(page, "Send the money")).toHaveText("The agent declined: “I may not do that”.");

  await agent.hear("Now or never", { ttl_ms: 1000 });
  await expect(rungOf(page, "Now or never")).toHaveText(/^Expired unanswered at \d\d:\d\d\.$/);
  await expect(said(page, "Now or never").getByRole("button", { name: "Send again" })).toBeVisible();

  await agent.hear("Is it safe?");
  const taken = await agent.take();
  await agent.answer(taken, "Yes.");
  await agent.say("On second thought: no.", { type: "answer", reply_to: taken.message.id });
  await expect(said(page, "On second thought")).toContainText("Second answer to the same message");

  await agent.hear("Thanks");
  await agent.settle(await agent.take(), "ack");
  await expect(rungOf(page, "Thanks")).toHaveText("done, without an answer");
  await picture(page, "ends");
  await accessible(page);
});

test("a bridge that has lost its history does not look like the old one", async ({ page, bridge }) => {
  const { id } = await bridge.open("Lost");
  await page.goto(bridge.page(id));
  await send(page, "remember this");
  await expect(rungOf(page, "remember this")).toHaveText("accepted");
  await bridge.kill();
  bridge.forget();
  await bridge.resume();
  await expect(page.getByRole("heading", { name: "There is no such conversation." })).toBeVisible();
  await expect(page.getByRole("link", { name: /Lost/ })).toHaveCount(0);
});

test("nobody has taken it for ten minutes", async ({ page, bridge }) => {
  const { id } = await bridge.open("Nobody");
  await page.clock.install();
  await page.goto(bridge.page(id));
  await send(page, "Hello?");
  await expect(rungOf(page, "Hello?")).toHaveText("accepted");
  await page.clock.fastForward("10:30");
  const message = said(page, "Hello?");
  await expect(message.locator(".rung")).toHaveText("Nobody has taken it for 10 minutes.");
  await picture(page, "nobody");
  await message.getByRole("button", { name: "Connect an agent" }).click();
  await expect(page.getByRole("dialog", { name: "Connect an agent" })).toBeVisible();
});

test("a message that is too large can be edited", async ({ page, bridge }) => {
  const { id } = await bridge.open("Too large");
  await page.goto(bridge.page(id));
  await send(page, "x".repeat(1_100_000));
  const message = page.locator("article");
  await expect(message.locator(".rung")).toHaveText("Refused: the body is too large.");
  await message.getByRole("button", { name: "Edit" }).click();
  await expect(message).toHaveCount(0);
  await expect(field(page)).toHaveValue(/^x{1000}/);
});

test("a closed conversation refuses, and says what to do", async ({ page, context, bridge }) => {
  const { id } = await bridge.open("Closing");
  await page.goto(bridge.page(id));
  await send(page, "One thing more");
  await expect(rungOf(page, "One thing more")).toHaveText("accepted");
  await page.getByRole("button", { name: "Menu" }).click();
  await page.getByRole("menuitem", { name: "Close conversation" }).click();
  const dialog = page.getByRole("dialog", { name: "Close this conversation" });
  await expect(dialog).toContainText("one message is given up unanswered");
  await picture(page, "closing");
  await accessible(page);
  await dialog.getByRole("button", { name: "Close conversation" }).click();
  await expect(rungOf(page, "One thing more")).toHaveText("The conversation was closed before it was answered.");
  await expect(outlook(page)).toContainText("This conversation is closed");

  // A message that was on its way when it was closed.
  const other = await bridge.open("Too late");
  const late = await context.newPage();
  await late.goto(bridge.page(other.id));
  await late.route("**/messages", (route) => (route.request().method() === "POST" ? route.abort() : route.continue()));
  await send(late, "too late");
  await bridge.call("DELETE", `/api/sessions/${other.id}`);
  await late.unroute("**/messages");
  await expect(rungOf(late, "too late")).toHaveText("Refused: the conversation is closed.");
  await picture(late, "closed");
  await said(late, "too late").getByRole("button", { name: "New conversation" }).click();
  await expect(late.locator(".step")).toHaveCount(3);
});

test("a message that hangs says why, beside its rung and in its details", async ({ page, bridge }) => {
  const { id } = await bridge.open("Standing still");
  const mailbox = `/api/mailboxes/${encodeURIComponent(`session:${id}/agent`)}`;
  const asked: string[] = [];
  page.on("request", (request) => request.url().endsWith("/why") && asked.push(request.url()));
  await page.goto(bridge.page(id));
  await send(page, "is anybody there");
  const why = said(page, "is anybody there").locator(".why");
  await expect(rungOf(page, "is anybody there")).toHaveText("accepted");
  await expect(why).toHaveText(/^Nobody has asked for messages since \d\d:\d\d\.$/, { timeout: 10_000 });

  // Whoever pauses the mailbox is told at once, and so is its end.
  await bridge.call("POST", `${mailbox}/pause`, {});
  await expect(why).toHaveText(/^Paused by anonymous since \d\d:\d\d\.$/);
  await bridge.call("POST", `${mailbox}/resume`, {});
  await expect(why).toHaveText(/^Nobody has asked for messages since /);
  await bridge.call("POST", `${mailbox}/pause`, {});
  await send(page, "and now");
  await expect(said(page, "and now").locator(".why")).toHaveText(/^Paused by anonymous since \d\d:\d\d\.$/, { timeout: 10_000 });
  await picture(page, "stands-still");
  await page.setViewportSize({ width: 375, height: 720 });
  await fits(page);
  await picture(page, "stands-still-375");
  await page.emulateMedia({ colorScheme: "dark" });
  await accessible(page);
  await picture(page, "stands-still-dark");
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: "light" });

  await bridge.call("POST", `${mailbox}/resume`, {});
  const agent = new Agent(bridge, id);
  await agent.take();
  await expect(rungOf(page, "is anybody there")).toHaveText("presented");
  await expect(why).toHaveText(/ has it until \d\d:\d\d; then it is handed out again\.$/, { timeout: 10_000 });
  await rungOf(page, "is anybody there").click();
  await expect(page.locator(".inspector .still")).toHaveText(/ has it until /, { timeout: 10_000 });
  await accessible(page);
  await picture(page, "stands-still-details");
  // Nobody asks while nothing changes.
  const before = asked.length;
  await page.waitForTimeout(3_000);
  expect(asked.length).toBe(before);

  await page.route("**/why", (route) => route.abort());
  await send(page, "one more");
  await page.waitForTimeout(6_000);
  await expect(said(page, "one more").locator(".why")).toHaveCount(0);
  await expect(rungOf(page, "one more")).toHaveText("accepted");
});
