// Works through the desktop CDN's page as a person does, in both themes, and looks for findings of axe-core.
// node desktop.mjs OPTIONS (JSON: url, api_url, api_key, api_secret, file, pictures, browser)
// It prints "restart", waits for a line, and prints one line of JSON at the end.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const options = JSON.parse(process.argv[2]);
const require = createRequire(`${options.modules}/`);
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const browser = await chromium.launch({
  executablePath: options.browser,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext({ viewport: { width: 1200, height: 640 }, deviceScaleFactor: 1, reducedMotion: "reduce" });
const page = await context.newPage();
const findings = [];
const errors = [];
page.on("pageerror", (error) => errors.push(String(error)));
page.on("console", (message) => /Content Security Policy/i.test(message.text()) && errors.push(message.text()));
page.on("dialog", (dialog) => dialog.accept());

async function look(name, { picture = true } = {}) {
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    await page.waitForFunction(() => document.getAnimations().every((animation) => animation.playState !== "running"));
    if (picture) await page.screenshot({ path: `${options.pictures}/desktop-${name}-${theme}.png`, fullPage: true });
    const found = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]).analyze();
    findings.push(...found.violations.map((violation) => `${name}, ${theme}: ${violation.id} (${violation.nodes.map((node) => node.target).join(", ")})`));
  }
  await page.emulateMedia({ colorScheme: "light" });
}

const upload = page.locator("#uploads > li").first();
const state = (name) => page.waitForSelector(`#uploads > li.${name}`, { timeout: 120_000 });
const share = () => upload.locator("progress").first().evaluate((bar) => bar.value);
const past = (least) => page.waitForFunction((value) => document.querySelector("#uploads progress")?.value > value, least, { timeout: 120_000 });

await page.goto(options.url);
await page.waitForSelector("#sign-in:not([hidden])");
await look("sign-in");

// By the keyboard alone.
await page.locator("#api-url").fill(options.api_url);
await page.locator("#api-key").focus();
await page.keyboard.type(options.api_key);
await page.keyboard.press("Tab");
await page.keyboard.type(options.api_secret);
await page.keyboard.press("Enter");
await page.waitForSelector("#signed-in:not([hidden])");
await page.waitForSelector("#badge:not([hidden])");

await page.locator("#files").setInputFiles(options.file);
await state("sending");
// By then the lanes' first bursts are over, and their speeds add up.
await past(0.35);
await page.waitForFunction(() => [...document.querySelectorAll(".lanes .speed b")].filter((b) => parseFloat(b.textContent) > 0).length >= 3);
await look("uploading");
const lanes = await upload.locator(".lanes li").count();

await upload.getByRole("button", { name: /^Pause/ }).click();
await state("paused");
const paused = await share();
await page.waitForFunction(() => document.activeElement.textContent === "Resume");
const focused = await page.evaluate(() => document.activeElement.textContent);
await upload.getByRole("button", { name: /^Resume/ }).press("Enter");
await state("sending");
await past(Math.max(paused, 0.45));

console.log("restart");
await lines.next();
await state("sending");
await state("done");
const signedIn = await page.evaluate(() => !document.getElementById("signed-in").hidden);

// What was uploaded is read from this computer.
await page.locator("#files").setInputFiles([{ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("notes") }]);
await page.waitForFunction(() => document.querySelectorAll("#uploads > li.done").length === 2, null, { timeout: 60_000 });
console.log("read");
await lines.next();
const uploaded = await page.locator("#uploads .done").count();
await page.waitForFunction(() => parseFloat(document.querySelector(".saved")?.textContent) > 0, null, { timeout: 30_000 });
const saved = await page.locator(".saved").textContent();
const quota = await page.locator("#quota .detail").allTextContents();
await page.waitForFunction(() => document.querySelector(".contents b")?.textContent.includes("."), null, { timeout: 30_000 });
await page.waitForFunction(() => !document.getElementById("quota").textContent.includes("reserved"), null, { timeout: 60_000 });
await page.evaluate(() => document.activeElement.blur());
await look("done");
await page.setViewportSize({ width: 390, height: 800 });
await look("narrow", { picture: false });

console.log(JSON.stringify({ uploaded, findings, errors, lanes, paused, focused, signedIn, saved, quota }));
await browser.close();
// What waits for lines would keep it alive.
process.exit(0);
