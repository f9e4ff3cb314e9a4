// The extension: hands debug sessions to `podstep dap`. Everything that another editor needs too is there, not here.
import { accessSync, constants, existsSync, mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { answerTo, keepButton, questionOf, releaseButton } from './asked.ts';
import { childEndpoint, isMirrored, ownType, takeOver, wantedDebugger } from './configuration.ts';
import { findProgram } from './program.ts';
import { heldOf, isHeld, releases, waiting, type Held } from './held.ts';
import { last, lines, title, type Summary } from './requests.ts';

const lastTarget = 'podstep.lastTarget';

/** Called by the editor at the first debug session of any type, or at the first of our commands. */
export function activate(context: vscode.ExtensionContext): void {
  const log = path.join(context.logUri.fsPath, 'podstep.log');
  const find = (): string | undefined =>
    findProgram(
      { setting: setting('path'), extension: context.extensionPath, path: process.env['PATH'] ?? '' },
      isExecutable,
    );
  context.subscriptions.push(
    vscode.debug.registerDebugConfigurationProvider('*', new Provider(find)),
    vscode.debug.registerDebugAdapterDescriptorFactory(ownType, new Factory(find, log)),
    vscode.debug.registerDebugAdapterTrackerFactory(ownType, { createDebugAdapterTracker: () => new Tracker(log) }),
    vscode.debug.onDidReceiveDebugSessionCustomEvent((e) => {
      if (e.session.type === ownType && e.event === 'podstep/asked') void showQuestion(e.session, e.body);
    }),
    vscode.commands.registerCommand('podstep.showLog', () => showLog(log)),
    vscode.commands.registerCommand('podstep.showRequests', () => withSession(showRequests)),
    vscode.commands.registerCommand('podstep.replayLast', () => withSession(replayLast)),
    vscode.commands.registerCommand('podstep.releaseHeld', () => withSession(releaseHeld)),
    vscode.debug.onDidReceiveDebugSessionCustomEvent((event) => {
      if (event.session.type !== ownType || event.event !== 'podstep/held' || !isHeld(event.body)) return;
      void offerRelease(event.session, event.body);
    }),
    vscode.commands.registerCommand('podstep.yield', () => withSession(yieldPorts)),
    vscode.commands.registerCommand('podstep.askTarget', () => askTarget(context.workspaceState)),
  );
}

/** Takes over configurations with a "mirror" block, after the providers of their own type have filled in their defaults. */
class Provider implements vscode.DebugConfigurationProvider {
  readonly #find: () => string | undefined;

  constructor(find: () => string | undefined) {
    this.#find = find;
  }

  /** Variables are substituted only for types that somebody contributes: the others are taken over before that. */
  resolveDebugConfiguration(
    _folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
  ): vscode.DebugConfiguration {
    return isMirrored(configuration) && !isContributed(configuration.type) ? takeOver(configuration) : configuration;
  }

  /** Returns undefined, which ends the start, when there is no program to hand the session to. */
  resolveDebugConfigurationWithSubstitutedVariables(
    _folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
  ): vscode.DebugConfiguration | undefined {
    const resolved = isMirrored(configuration) ? takeOver(configuration) : configuration;
    if (resolved.type !== ownType || this.#find() !== undefined) return resolved;
    void offer(noProgram(), 'Open settings', () => openSettings());
    return undefined;
  }
}

/** Starts the adapter. A child session is led to the debugger that serves it: the adapter has its parent. */
class Factory implements vscode.DebugAdapterDescriptorFactory {
  readonly #find: () => string | undefined;
  readonly #log: string;

  constructor(find: () => string | undefined, log: string) {
    this.#find = find;
    this.#log = log;
  }

  createDebugAdapterDescriptor(session: vscode.DebugSession): vscode.DebugAdapterDescriptor {
    const child = childEndpoint(session.configuration);
    if (child !== undefined) return new vscode.DebugAdapterServer(child.port, child.host);
    const program = this.#find();
    if (program === undefined) throw new Error(noProgram());
    mkdirSync(path.dirname(this.#log), { recursive: true });
    const folder = session.workspaceFolder?.uri.fsPath;
    const wanted = wantedDebugger(session.configuration);
    return new vscode.DebugAdapterExecutable(
      program,
      [
        'dap',
        ...(wanted === undefined ? [] : ['--debugger', wanted]),
        '--log-file',
        this.#log,
        '--log-level',
        setting('logLevel'),
      ],
      folder === undefined ? {} : { cwd: folder },
    );
  }
}

/** Tells when the adapter of one session ended by itself with a failure. */
class Tracker implements vscode.DebugAdapterTracker {
  readonly #log: string;
  #stopping = false;

  constructor(log: string) {
    this.#log = log;
  }

  onWillStopSession(): void {
    this.#stopping = true;
  }

  onExit(code: number | undefined): void {
    if (this.#stopping || code === undefined || code === 0) return;
    void offer(`podstep ended with exit code ${String(code)}.`, 'Show log', () => showLog(this.#log));
  }
}

/** Shows an error with the one thing to do about it. */
async function offer(what: string, action: string, act: () => Promise<void>): Promise<void> {
  if ((await vscode.window.showErrorMessage(what, action)) === action) await act();
}

async function openSettings(): Promise<void> {
  await vscode.commands.executeCommand('workbench.action.openSettings', 'podstep.path');
}

async function showLog(log: string): Promise<void> {
  if (existsSync(log)) await vscode.window.showTextDocument(vscode.Uri.file(log));
  else await vscode.window.showInformationMessage('The log is empty: no session has been started.');
}

/** Lets act have the session that the person debugs, and shows what goes wrong. */
async function withSession(act: (session: vscode.DebugSession) => Promise<void>): Promise<void> {
  let session = vscode.debug.activeDebugSession;
  while (session?.parentSession?.type === ownType) session = session.parentSession; // a child's is the debugger's own
  if (session?.type !== ownType) {
    await vscode.window.showInformationMessage('No podstep session is being debugged.');
    return;
  }
  const chosen = session;
  await withFailures(() => act(chosen));
}

/** Shows what goes wrong. */
async function withFailures(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    await vscode.window.showErrorMessage(error instanceof Error ? error.message : String(error));
  }
}

async function requestsOf(session: vscode.DebugSession): Promise<readonly Summary[]> {
  const body = (await session.customRequest('podstep/requests')) as { readonly requests: readonly Summary[] };
  return body.requests;
}

/** Lists the requests that came and opens the one that is chosen, without its secrets. */
async function showRequests(session: vscode.DebugSession): Promise<void> {
  const items = lines(await requestsOf(session));
  const chosen = await vscode.window.showQuickPick(items, {
    title: `Requests of ${session.name}`,
    placeHolder: items.length === 0 ? 'No HTTP request has come yet' : 'The request to show',
    matchOnDescription: true,
  });
  if (chosen === undefined) return;
  const body = (await session.customRequest('podstep/request', { id: chosen.id, format: 'text' })) as { text: string };
  await vscode.window.showTextDocument(await vscode.workspace.openTextDocument({ content: body.text }));
}

/** Sends the newest request to the debuggee again. The answer comes when the person has stepped through it: nobody waits for it here. */
async function replayLast(session: vscode.DebugSession): Promise<void> {
  const request = last(await requestsOf(session));
  if (request === undefined) {
    await vscode.window.showInformationMessage('No HTTP request has come yet.');
    return;
  }
  await session.customRequest('podstep/replay', { id: request.id });
  vscode.window.setStatusBarMessage(`Replayed ${title(request)}`, 5000);
}

/** Shows that a colleague asks for stolen ports, and answers what the person chooses. */
async function showQuestion(session: vscode.DebugSession, body: unknown): Promise<void> {
  const question = questionOf(body);
  if (question === undefined) return;
  const button = await vscode.window.showInformationMessage(question.text, releaseButton, keepButton);
  const answer = answerTo(question, button);
  if (answer === undefined) return;
  await withFailures(async () => {
    await session.customRequest(answer.request, answer.arguments);
  });
}

/** Gives all stolen ports back; the session goes on. */
async function yieldPorts(session: vscode.DebugSession): Promise<void> {
  await session.customRequest('podstep/yield');
}

/** Tells of a request that a rule holds, with the ways in which it can go on. */
async function offerRelease(session: vscode.DebugSession, held: Held): Promise<void> {
  const how = await vscode.window.showInformationMessage(waiting(held), ...releases);
  if (how !== undefined) await withFailures(() => release(session, held.id, how.action));
}

/** Asks which of the held requests goes on, and how. */
async function releaseHeld(session: vscode.DebugSession): Promise<void> {
  const items = lines(heldOf(await requestsOf(session)));
  if (items.length === 0) {
    await vscode.window.showInformationMessage('No request is held.');
    return;
  }
  const chosen = items.length === 1 ? items[0] : await vscode.window.showQuickPick(items, { title: 'Held requests' });
  if (chosen === undefined) return;
  const how = await vscode.window.showQuickPick([...releases], { title: `Release ${chosen.label}` });
  if (how !== undefined) await release(session, chosen.id, how.action);
}

async function release(session: vscode.DebugSession, id: number, action: string): Promise<void> {
  await session.customRequest('podstep/release', { id, action });
}

/** Asks for the target; the answer before is the proposal. Undefined when the user cancels: the session does not start. */
async function askTarget(state: vscode.Memento): Promise<string | undefined> {
  const target = await vscode.window.showInputBox({
    title: 'Target',
    prompt: 'Whose requests you want, for example deployment/web, or process/4242 on this machine',
    value: state.get(lastTarget, 'deployment/'),
    ignoreFocusOut: true,
  });
  if (target !== undefined) await state.update(lastTarget, target);
  return target;
}

function noProgram(): string {
  const chosen = setting('path');
  if (chosen === '') return 'The podstep program is neither in this extension nor in PATH.';
  return `The podstep program "${chosen}" of the settings cannot be run.`;
}

function setting(name: 'path' | 'logLevel'): string {
  return vscode.workspace.getConfiguration('podstep').get(name, '');
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
