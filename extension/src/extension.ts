// The extension: hands debug sessions to `podstep dap`. Everything that another editor needs too is there, not here.
import { accessSync, constants, readdirSync, statSync } from 'node:fs';
import * as vscode from 'vscode';
import { complete, isMirrored, ownType, pipeOf, takeOver } from './configuration.ts';
import { failureOf } from './message.ts';
import { findProgram } from './program.ts';

const lastTarget = 'podstep.lastTarget';

/** Called by the editor at the first debug session of any type. */
export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('podstep', { log: true });
  const find = (): string | undefined =>
    findProgram(
      { setting: programSetting(), extension: context.extensionPath, path: process.env['PATH'] ?? '' },
      isExecutable,
    );
  context.subscriptions.push(
    log,
    vscode.debug.registerDebugConfigurationProvider('*', new Provider(find, log)),
    vscode.debug.registerDebugAdapterDescriptorFactory(ownType, new Factory(find, log)),
    vscode.debug.registerDebugAdapterTrackerFactory(ownType, {
      createDebugAdapterTracker: (session) => new Tracker(session.name, log),
    }),
    vscode.commands.registerCommand('podstep.showLog', () => {
      log.show();
    }),
    vscode.commands.registerCommand('podstep.askTarget', () => askTarget(context.workspaceState)),
  );
}

/** Takes over configurations with a "mirror" block. It comes after the providers of the configuration's own type, which fill in their defaults. */
class Provider implements vscode.DebugConfigurationProvider {
  readonly #find: () => string | undefined;
  readonly #log: vscode.LogOutputChannel;

  constructor(find: () => string | undefined, log: vscode.LogOutputChannel) {
    this.#find = find;
    this.#log = log;
  }

  /** Variables are substituted only for types that somebody contributes: the others are taken over before that. */
  resolveDebugConfiguration(
    _folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
  ): vscode.DebugConfiguration {
    if (!isMirrored(configuration) || isContributed(configuration.type)) return configuration;
    return this.#takeOver(configuration);
  }

  /** Returns undefined, which ends the start, when there is no program to hand the session to. */
  resolveDebugConfigurationWithSubstitutedVariables(
    _folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
  ): vscode.DebugConfiguration | undefined {
    const resolved = isMirrored(configuration) ? this.#takeOver(configuration) : complete(configuration, list);
    if (resolved.type !== ownType || this.#find() !== undefined) return resolved;
    void offerSettings();
    return undefined;
  }

  #takeOver(configuration: vscode.DebugConfiguration): vscode.DebugConfiguration {
    this.#log.info(`"${configuration.name}" (type "${configuration.type}") has a "mirror" block`);
    return takeOver(configuration);
  }
}

/** Starts the adapter, or leads a child session to the adapter of its parent. */
class Factory implements vscode.DebugAdapterDescriptorFactory {
  readonly #find: () => string | undefined;
  readonly #log: vscode.LogOutputChannel;

  constructor(find: () => string | undefined, log: vscode.LogOutputChannel) {
    this.#find = find;
    this.#log = log;
  }

  createDebugAdapterDescriptor(session: vscode.DebugSession): vscode.DebugAdapterDescriptor {
    const pipe = pipeOf(session.configuration);
    if (pipe !== undefined) return new vscode.DebugAdapterNamedPipeServer(pipe);
    const program = this.#find();
    if (program === undefined) throw new Error(noProgram());
    this.#log.info(`"${session.name}": ${program} dap`);
    const folder = session.workspaceFolder?.uri.fsPath;
    return new vscode.DebugAdapterExecutable(program, ['dap'], folder === undefined ? {} : { cwd: folder });
  }
}

/** Writes what went wrong in one session to the log. */
class Tracker implements vscode.DebugAdapterTracker {
  readonly #name: string;
  readonly #log: vscode.LogOutputChannel;
  #stopping = false;

  constructor(name: string, log: vscode.LogOutputChannel) {
    this.#name = name;
    this.#log = log;
  }

  onDidSendMessage(message: unknown): void {
    const failure = failureOf(message);
    if (failure !== undefined) this.#log.error(`"${this.#name}": ${failure}`);
  }

  onWillStopSession(): void {
    this.#stopping = true;
  }

  onError(error: Error): void {
    this.#log.debug(`"${this.#name}": ${error.message}`);
  }

  onExit(code: number | undefined, signal: string | undefined): void {
    this.#log.info(`"${this.#name}": adapter ended (${signal ?? `exit code ${String(code ?? 0)}`})`);
    if (this.#stopping || code === undefined || code === 0) return;
    void this.#offerLog(code);
  }

  async #offerLog(code: number): Promise<void> {
    const show = 'Show log';
    const chosen = await vscode.window.showErrorMessage(`podstep ended with exit code ${String(code)}.`, show);
    if (chosen === show) this.#log.show();
  }
}

/** Asks for the target; the answer before is the proposal. Undefined when the user cancels: the session does not start. */
async function askTarget(state: vscode.Memento): Promise<string | undefined> {
  const target = await vscode.window.showInputBox({
    title: 'Target',
    prompt: 'The process whose requests you want, for example process/4242',
    value: state.get(lastTarget, 'process/'),
    ignoreFocusOut: true,
  });
  if (target !== undefined) await state.update(lastTarget, target);
  return target;
}

async function offerSettings(): Promise<void> {
  const open = 'Open settings';
  const chosen = await vscode.window.showErrorMessage(noProgram(), open);
  if (chosen === open) await vscode.commands.executeCommand('workbench.action.openSettings', 'podstep.path');
}

function noProgram(): string {
  const setting = programSetting();
  if (setting === '') return 'The podstep program is neither in this extension nor in PATH.';
  return `The podstep program "${setting}" of the settings cannot be run.`;
}

function programSetting(): string {
  return vscode.workspace.getConfiguration('podstep').get('path', '');
}

/** Says whether any installed extension brings the debug type. */
function isContributed(type: string): boolean {
  return vscode.extensions.all.some((extension) => {
    const { contributes } = extension.packageJSON as { contributes?: { debuggers?: readonly { type?: string }[] } };
    return contributes?.debuggers?.some((contributed) => contributed.type === type) ?? false;
  });
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
