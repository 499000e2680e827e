import { defineConfig } from "@playwright/test";

export default defineConfig({
  testDir: "e2e",
  outputDir: "test-results/runs",
  timeout: 45_000,
  expect: { timeout: 10_000 },
  workers: Number(process.env["E2E_WORKERS"] ?? 2),
  fullyParallel: true,
  // A machine that does ten things at once may miss a moment; a real fault comes again.
  retries: process.env["CI"] === undefined ? 0 : 1,
  forbidOnly: process.env["CI"] !== undefined,
  reporter: [["list"]],
  use: {
    browserName: "chromium",
    launchOptions: { executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: ["--no-sandbox"] },
    viewport: { width: 1280, height: 800 },
    trace: "off",
  },
  projects: [
    { name: "page", testIgnore: "agents/**" },
    // What fails once in a while is what these look for.
    { name: "agents", testMatch: "agents/*.spec.ts", timeout: 180_000, expect: { timeout: 45_000 }, retries: 0 },
  ],
});
