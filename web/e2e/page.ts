// What every flow needs: a bridge, a page that complains, and names for what one sees.

import AxeBuilder from "@axe-core/playwright";
import { type Locator, type Page, type TestInfo, test as base, expect } from "@playwright/test";
import { Agent, Bridge } from "./bridge";

export { expect };
export { Agent };

export const test = base.extend<{ bridge: Bridge; complaints: string[] }>({
  bridge: async ({}, use, info) => {
    const bridge = await Bridge.start();
    await use(bridge);
    await bridge.remove();
    explain(info, "the bridge", bridge.said);
  },
  // A page that breaks the content policy or throws fails the test, whatever it looks like.
  complaints: [
    async ({ context }, use) => {
      const complaints: string[] = [];
      const watch = (page: Page) => {
        page.on("pageerror", (error) => complaints.push(String(error.stack ?? error)));
        page.on("console", (message) => {
          if (message.type() === "error" && !/Failed to load resource|net::ERR_/.test(message.text())) {
            complaints.push(message.text());
          }
        });
      };
      context.on("page", watch);
      await use(complaints);
      expect(complaints).toEqual([]);
    },
    { auto: true },
  ],
});

/** Shows what another process said, if the flow has failed. */
export function explain(info: TestInfo, who: string, said: string): void {
  if (info.status !== info.expectedStatus) {
    console.error(`-- ${who} said:\n${said}`);
  }
}

export const field = (page: Page): Locator => page.getByRole("textbox", { name: "Message" });
export const log = (page: Page): Locator => page.getByRole("log");
export const outlook = (page: Page): Locator => page.locator("#outlook");
/** A message by its text. */
export const said = (page: Page, text: string): Locator => log(page).locator("article").filter({ hasText: text });
/** The rung under a message. */
export const rungOf = (page: Page, text: string): Locator => said(page, text).locator(".rung");

export async function send(page: Page, text: string): Promise<void> {
  await field(page).fill(text);
  await field(page).press("Enter");
}

/** Keeps a picture to be looked at. */
export async function picture(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: `test-results/${name}.png`, animations: "disabled" });
}

/** No serious finding, in what is on the screen now. */
export async function accessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  expect(serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`)).toEqual([]);
}

/** Nothing makes the page wider than the window. */
export async function fits(page: Page): Promise<void> {
  expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBe(0);
}
