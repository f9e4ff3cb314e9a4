// One run of one scenario: its folder, its editor, its pod, what it began, and the account of its steps.
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Editor } from './editor.ts';
import { Pod } from './pod.ts';
import { begun, markName } from './processes.ts';
import type { Project } from './project.ts';
import { Server } from './server.ts';
import { until } from './wait.ts';
import { Workload } from './workload.ts';

/** What all runs have in common. */
export interface Tools {
  readonly chromium: string;
  readonly server: string;
  readonly vsix: string;
  /** The folder with the pod's programs. */
  readonly programs: string;
  /** A Python that has debugpy. */
  readonly python: string;
  /** Where the picture for the README is written. Undefined: nowhere. */
  readonly picture: string | undefined;
}

/** A scenario's surroundings. Close ends all that was started, the last first. */
export class Stage {
  /** A folder of the run's own, for whatever it writes. Kept when the scenario fails. */
  readonly folder: string;
  readonly #tools: Tools;
  readonly #mark: string;
  readonly #runtime: string;
  readonly #began = Date.now();
  readonly #closers: (() => Promise<void>)[] = [];
  #server: Server | undefined;
  #editor: Editor | undefined;

  constructor(tools: Tools) {
    this.folder = mkdtempSync(path.join(tmpdir(), 'podstep-editor-'));
    this.#tools = tools;
    this.#mark = path.basename(this.folder);
    this.#runtime = path.join(this.folder, 'run');
    mkdirSync(this.#runtime, { mode: 0o700 });
  }

  /** A Python that has debugpy. */
  get python(): string {
    return this.#tools.python;
  }

  /** Writes down that the scenario has come so far. */
  step(what: string): void {
    console.log(`  ${((Date.now() - this.#began) / 1000).toFixed(1).padStart(5)} s  ${what}`);
  }

  /** Starts the pod, with the shop and its client. */
  async pod(): Promise<Pod> {
    const pod = await Pod.start(this.#tools.programs);
    this.#closers.push(() => pod.close());
    return pod;
  }

  /** Deploys the shop and its customer in the cluster of $KUBECONFIG. */
  async workload(): Promise<Workload> {
    const workload = await Workload.deploy();
    this.#closers.push(() => workload.close());
    return workload;
  }

  /** Opens the editor on a project, at the line that the breakpoint is for. */
  async editor(project: Project): Promise<Editor> {
    const { vsix, server: script, chromium } = this.#tools;
    const env = { ...process.env, [markName]: this.#mark, XDG_RUNTIME_DIR: this.#runtime };
    const server = await Server.start({ folder: this.folder, vsix, script, env });
    this.#server = server;
    this.#closers.push(() => server.close());
    const editor = await Editor.open(server.url, project.folder, project, chromium);
    this.#editor = editor;
    this.#closers.push(() => editor.close());
    return editor;
  }

  /** Looks that a session is seen as long as there is one: otherwise nothingLeft would say nothing. */
  sessionRuns(expected = ['podstep', 'podstep-launch', 'podstep-agent']): void {
    const programs = new Set(begun(this.#mark, this.folder).map(({ program }) => path.basename(program)));
    for (const program of expected) {
      if (!programs.has(program))
        throw new Error(`no ${program} among the session's processes: ${[...programs].join(', ')}`);
    }
    if (sessions(path.join(this.#runtime, 'podstep')).length !== 1) throw new Error('no folder of the session');
  }

  /** Waits until nothing of the sessions is left on this side: no process and no file. */
  async nothingLeft(): Promise<void> {
    await until('nothing of the session is left', 5_000, () => this.#left().length === 0).catch((error: unknown) => {
      throw new Error(`left after the session: ${this.#left().join(', ')}`, { cause: error });
    });
  }

  /** Takes the picture for the README, if it is asked for. */
  async picture(): Promise<void> {
    if (this.#tools.picture !== undefined) await this.#editor?.picture(this.#tools.picture);
  }

  /** What can be seen of a failure, besides the error. */
  async account(): Promise<string> {
    const picture = path.join(this.folder, 'failure.png');
    await this.#editor?.picture(picture);
    const seen = (await this.#editor?.text()) ?? 'no editor';
    return `the editor shows: ${seen}\nits server says: ${this.#server?.log() ?? 'nothing'}\npicture: ${picture}`;
  }

  async close(): Promise<void> {
    for (const closer of this.#closers.toReversed()) await closer();
    if (this.#editor !== undefined && this.#editor.foreign.size > 0) {
      throw new Error(`the editor's page asked other hosts: ${[...this.#editor.foreign].join(', ')}`);
    }
  }

  #left(): readonly string[] {
    const processes = begun(this.#mark, this.folder).map(({ pid, program }) => `${program} (${String(pid)})`);
    return [...processes, ...sessions(path.join(this.#runtime, 'podstep'))];
  }

  /** Removes the folder. */
  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}

/** The sessions' folders; none when there is not even the folder around them. */
function sessions(folder: string): readonly string[] {
  try {
    return readdirSync(folder).map((name) => path.join(folder, name));
  } catch {
    return [];
  }
}
