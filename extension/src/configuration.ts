// Which debug configurations are podstep's, and what the adapter is told about the one it takes over.
import path from 'node:path';

/** The type this extension contributes. */
export const ownType = 'podstep';

/** A configuration of launch.json as the editor hands it over. */
export interface Configuration {
  readonly type: string;
  readonly request: string;
  readonly name: string;
  readonly [attribute: string]: unknown;
}

/** The attributes that carry the adapter's own news. They never stand in a launch.json. */
const originalType = '__podstepType';
const sessionPipe = '__podstepPipe';

/** Attributes by which debuggers mark the configuration of a child session: it inherits its parent's attributes, the "mirror" block too. */
const childMarks = ['__parentId', '__pendingTargetId', 'subProcessId', sessionPipe];

/** The debugger behind each type that language extensions contribute. A type that is not here keeps its place: the adapter says what it knows. */
const debuggers: ReadonlyMap<string, string> = new Map([
  ['go', 'dlv'],
  ['python', 'debugpy'],
  ['debugpy', 'debugpy'],
]);

const debuggersByExtension: ReadonlyMap<string, string> = new Map([
  ['.go', 'dlv'],
  ['.py', 'debugpy'],
  ['.pyw', 'debugpy'],
]);

/** Lists the names in a folder; empty when it is none. */
export type List = (folder: string) => readonly string[];

/** Says whether the configuration is one of another type with a "mirror" block, seen for the first time. */
export function isMirrored(configuration: Configuration): boolean {
  if (configuration.type === ownType || originalType in configuration) return false;
  if (configuration['mirror'] === undefined || configuration['mirror'] === null) return false;
  return !childMarks.some((mark) => mark in configuration);
}

/** Returns the configuration as podstep's: its type is kept for the adapter, and the debugger named when the type tells. */
export function takeOver(configuration: Configuration): Configuration {
  const taken = { ...configuration, type: ownType, [originalType]: configuration.type };
  return withDebugger(taken, debuggers.get(configuration.type));
}

/** Returns a configuration of podstep's own type with the debugger that its program asks for, unless it names one. */
export function complete(configuration: Configuration, list: List): Configuration {
  if (configuration.type !== ownType || originalType in configuration || sessionPipe in configuration) {
    return configuration;
  }
  return withDebugger(configuration, debuggerOf(configuration, list));
}

/** The adapter's endpoint for a child session, when the configuration is one. */
export function pipeOf(configuration: Configuration): string | undefined {
  const pipe = configuration[sessionPipe];
  return typeof pipe === 'string' ? pipe : undefined;
}

function withDebugger(configuration: Configuration, debuggerName: string | undefined): Configuration {
  if (debuggerName === undefined || configuration['debugger'] !== undefined) return configuration;
  return { ...configuration, debugger: debuggerName };
}

function debuggerOf(configuration: Configuration, list: List): string | undefined {
  if (typeof configuration['module'] === 'string') return 'debugpy';
  const program = configuration['program'];
  if (typeof program !== 'string') return undefined;
  const byFile = debuggersByExtension.get(path.extname(program).toLowerCase());
  if (byFile !== undefined) return byFile;
  return list(program).some((name) => name.endsWith('.go')) ? 'dlv' : undefined;
}
