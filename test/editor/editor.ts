// The editor as a person uses it: a browser with its page, driven by keys and by what is to be seen.
import path from 'node:path';
import { type Browser, chromium, type Locator, type Page } from 'playwright-core';
import { until } from './wait.ts';

const quiet = [
  '--no-sandbox', // the test runs as root in CI
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', // the browser's own errands
];

/** How long the editor may take for something that a person would wait for, in milliseconds. */
const patience = 30_000;

/** A line of a file in the folder. */
export interface Position {
  readonly file: string;
  readonly line: number;
}

/** An open editor. Close ends the browser. */
export class Editor {
  /** Hosts other than loopback that the page asked for. */
  readonly foreign = new Set<string>();
  readonly #browser: Browser;
  readonly #page: Page;

  private constructor(browser: Browser, page: Page) {
    this.#browser = browser;
    this.#page = page;
    page.setDefaultTimeout(patience);
    page.on('request', (request) => {
      const { protocol, hostname } = new URL(request.url());
      if (/^(http|ws)s?:$/.test(protocol) && hostname !== '127.0.0.1') this.foreign.add(hostname);
    });
  }

  /** Opens a folder in the editor of the server at url, with a file of it at a line. */
  static async open(url: string, folder: string, at: Position, executablePath: string): Promise<Editor> {
    const browser = await chromium.launch({ executablePath, args: quiet });
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    const file = `vscode-remote://${new URL(url).host}${path.join(folder, at.file)}:${String(at.line)}`;
    const open = JSON.stringify([
      ['openFile', file],
      ['gotoLineMode', 'true'],
    ]);
    const editor = new Editor(browser, page);
    await page.goto(`${url}/?${new URLSearchParams({ folder, payload: open }).toString()}`, {
      waitUntil: 'domcontentloaded',
    });
    await page.locator(`.tab.active[aria-label^="${at.file}"]`).waitFor({ timeout: 4 * patience });
    await page
      .locator('.statusbar')
      .filter({ hasText: `Ln ${String(at.line)},` })
      .waitFor({ timeout: 2 * patience });
    return editor;
  }

  /** Sets a breakpoint in the line with the cursor. */
  async setBreakpoint(): Promise<void> {
    const breakpoint = this.#page.locator('.codicon-debug-breakpoint, .codicon-debug-breakpoint-unverified').first();
    await until('the breakpoint shows', patience, async () => {
      await this.#page.keyboard.press('F9');
      return breakpoint.waitFor({ timeout: 5_000 }).then(
        () => true,
        () => false, // the key came too early for the editor
      );
    });
  }

  /** Switches the breakpoint in file off, in the list of them. */
  async disableBreakpoint(file: string): Promise<void> {
    const row = this.#page.locator('.debug-breakpoints .monaco-list-row').filter({ hasText: file }).first();
    await row.locator('.monaco-checkbox').click();
    await until('the breakpoint is off', patience, async () => (await row.getAttribute('aria-checked')) === 'false');
  }

  /** Presses F5: starts the first configuration of launch.json, or goes on from a stop. */
  async run(): Promise<void> {
    await this.#page.keyboard.press('F5');
  }

  async stepOver(): Promise<void> {
    await this.#page.keyboard.press('F10');
  }

  /** Ends the session, as Shift+F5 does. */
  async stop(): Promise<void> {
    await this.#stopButton().waitFor();
    await this.#page.keyboard.press('Shift+F5');
  }

  /** Waits for the debugger to be stopped at a line of the file that is shown. Fails at once when the editor shows an error instead. */
  async stoppedAt(line: number): Promise<void> {
    await until(`stopped at line ${String(line)}`, 2 * patience, async () => {
      const errors = this.#page.locator('.monaco-dialog-box, .notification-toast:has(.codicon-error)');
      if (await errors.first().isVisible()) throw new Error(`the editor shows: ${await errors.first().innerText()}`);
      return (await this.#stoppedLine()) === line;
    });
  }

  /** Waits for a notification and presses a button of it. */
  async press(notification: RegExp, button: string): Promise<void> {
    const toast = this.#page.locator('.notification-toast').filter({ has: this.#page.getByText(notification) });
    await toast.getByRole('button', { name: button, exact: true }).click({ timeout: 2 * patience });
    await toast.waitFor({ state: 'hidden' });
  }

  /** Waits until no debug session is left. */
  async ended(): Promise<void> {
    await this.#stopButton().waitFor({ state: 'hidden' });
  }

  /** Opens the scope of the variables pane and waits for a row in it. Returns all rows. */
  async variables(scope: string, want: RegExp): Promise<readonly string[]> {
    const rows = this.#page.locator('.debug-variables .monaco-list-row');
    const closed = this.#page
      .locator('.debug-variables .monaco-list-row[aria-expanded="false"]')
      .filter({ hasText: scope });
    return until(`${String(want)} among the variables`, patience, async () => {
      const texts = (await rows.allInnerTexts()).map((text) => text.replaceAll(/\s+/g, ' ').trim());
      if (texts.some((text) => want.test(text))) return texts;
      if (await closed.first().isVisible()) await closed.first().click();
      return false;
    });
  }

  /** Makes the bar with the variables so wide that their values can be read. */
  async widen(width: number): Promise<void> {
    const { mouse } = this.#page;
    const box = await this.#page.locator('.part.sidebar').boundingBox();
    if (box === null) throw new Error('no bar with the variables');
    const height = box.y + box.height / 2;
    await mouse.move(box.x + box.width, height);
    await mouse.down();
    await mouse.move(box.x + width, height, { steps: 4 });
    await mouse.up();
    await mouse.move(0, 0); // away: the edge would stay marked
  }

  async picture(file: string): Promise<void> {
    await this.#page.screenshot({ path: file });
  }

  /** What the whole page says: for messages of failures. */
  async text(): Promise<string> {
    return this.#page
      .locator('.notifications-toasts, .monaco-dialog-box, .repl')
      .allInnerTexts()
      .then((texts) => texts.join('\n'));
  }

  async close(): Promise<void> {
    await this.#browser.close();
  }

  /** The button that is there as long as a session is. */
  #stopButton(): Locator {
    return this.#page.locator('.part.sidebar .codicon-debug-stop').first();
  }

  /** The number beside the line that is marked as the top of the stack. */
  async #stoppedLine(): Promise<number> {
    return this.#page.evaluate(() => {
      const marked = document.querySelector('.view-overlays .debug-top-stack-frame-line')?.parentElement;
      const rows = [...document.querySelectorAll<HTMLElement>('.margin-view-overlays > div')];
      const row = rows.find((candidate) => candidate.style.top === marked?.style.top);
      return Number(row?.querySelector('.line-numbers')?.textContent);
    });
  }
}
