// The editor's server: VS Code as a web page on loopback, with our extension and nothing of the user's.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { until } from './wait.ts';

const settings = {
  'chat.disableAIFeatures': true,
  'debug.console.fontSize': 13,
  'debug.toolBarLocation': 'docked',
  'editor.fontSize': 15,
  'editor.minimap.enabled': false,
  'extensions.autoCheckUpdates': false,
  'extensions.autoUpdate': false,
  'extensions.ignoreRecommendations': true,
  'git.enabled': false,
  'remote.autoForwardPorts': false,
  'security.workspace.trust.enabled': false,
  'telemetry.telemetryLevel': 'off',
  'terminal.integrated.defaultProfile.linux': 'sh',
  'terminal.integrated.profiles.linux': { sh: { path: '/bin/sh' } },
  'window.commandCenter': false,
  'workbench.colorTheme': 'Default Dark Modern',
  'workbench.layoutControl.enabled': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
};

/** What a server needs. */
export interface ServerOptions {
  /** An empty folder for all that the server writes. */
  readonly folder: string;
  /** The extension, packed. */
  readonly vsix: string;
  /** The script of the server. */
  readonly script: string;
  /** The environment of the server, hence of the extension and the sessions. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** A running server. Close ends it. */
export class Server {
  readonly url: string;
  readonly #process: ChildProcess;
  readonly #log: string;

  private constructor(url: string, process: ChildProcess, log: string) {
    this.url = url;
    this.#process = process;
    this.#log = log;
  }

  /** Installs the extension and starts a server on a free port of loopback. */
  static async start(options: ServerOptions): Promise<Server> {
    const { folder, script } = options;
    const log = path.join(folder, 'server.log');
    const data = path.join(folder, 'data');
    mkdirSync(path.join(data, 'User'), { recursive: true });
    writeFileSync(path.join(data, 'User', 'settings.json'), JSON.stringify(settings));
    writeFileSync(path.join(folder, 'config.yaml'), '');
    const places = ['--user-data-dir', data, '--extensions-dir', path.join(folder, 'extensions')];
    const env = {
      ...options.env,
      EXTENSIONS_GALLERY: '{"serviceUrl":""}', // no gallery, hence no look-ups there
      VSCODE_CLI: '1', // as started from a shell: without it the server asks a login shell for another PATH
    };
    const config = ['--config', path.join(folder, 'config.yaml')];
    execFileSync(process.execPath, [script, ...config, ...places, '--install-extension', options.vsix], {
      env,
      stdio: 'pipe',
    });

    const port = await freePort();
    const output = openSync(log, 'a');
    const quiet = ['--auth', 'none', '--disable-telemetry', '--disable-update-check', '--disable-workspace-trust'];
    const argv = [script, ...config, ...places, ...quiet, '--disable-getting-started-override'];
    const child = spawn(process.execPath, [...argv, '--bind-addr', `127.0.0.1:${String(port)}`], {
      env,
      detached: true, // a process group of its own, which Close ends as a whole
      stdio: ['ignore', output, output],
    });
    const server = new Server(`http://127.0.0.1:${String(port)}`, child, log);
    await until('the editor server answers', 30_000, async () => (await fetch(server.url).catch(() => undefined))?.ok);
    return server;
  }

  /** The last lines that the server wrote. */
  log(): string {
    return readFileSync(this.#log, 'utf8').split('\n').slice(-40).join('\n');
  }

  async close(): Promise<void> {
    const { pid } = this.#process;
    if (pid === undefined || this.#process.exitCode !== null) return;
    process.kill(-pid, 'SIGTERM');
    await until(
      'the editor server ends',
      15_000,
      () => this.#process.exitCode !== null || this.#process.signalCode !== null,
    );
  }
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => listener.once('listening', resolve));
  const address = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
