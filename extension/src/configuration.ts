// Which debug configurations are podstep's. What they mean is the adapter's business.

/** The type this extension contributes. */
export const ownType = 'podstep';

/** A configuration of launch.json as the editor hands it over. */
export interface Configuration {
  readonly type: string;
  readonly request: string;
  readonly name: string;
  readonly [attribute: string]: unknown;
}

/** Tells the adapter the type that a configuration had. It never stands in a launch.json. */
const originalType = '__podstepType';

/** Marks debugpy's child sessions. */
const subProcess = 'subProcessId';

/** Attributes by which debuggers mark the configuration of a child session: it inherits its parent's attributes, the "mirror" block too. */
const childMarks = ['__parentId', '__pendingTargetId', subProcess];

/** Says whether the configuration is one of another type with a "mirror" block, seen for the first time. */
export function isMirrored(configuration: Configuration): boolean {
  if (configuration.type === ownType || originalType in configuration) return false;
  if (configuration['mirror'] === undefined || configuration['mirror'] === null) return false;
  return !childMarks.some((mark) => mark in configuration);
}

/** Returns the configuration as podstep's; its type is kept for the adapter, which knows the debugger behind it. */
export function takeOver(configuration: Configuration): Configuration {
  return { ...configuration, type: ownType, [originalType]: configuration.type };
}

/** The debugger behind the configuration, as far as it says: the adapter is asked what the debugger can do before it is sent the configuration. */
export function wantedDebugger(configuration: Configuration): string | undefined {
  for (const wanted of [configuration['debugger'], configuration[originalType]]) {
    if (typeof wanted === 'string' && wanted !== '') return wanted;
  }
  return undefined;
}

/** Where a debugger serves a child session. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** The debugger's own endpoint, when the configuration is a child session's: debugpy debugs a debuggee's children over one of these. */
export function childEndpoint(configuration: Configuration): Endpoint | undefined {
  const connect = configuration['connect'];
  if (!(subProcess in configuration) || typeof connect !== 'object' || connect === null) return undefined;
  if (!('host' in connect) || typeof connect.host !== 'string') return undefined;
  if (!('port' in connect) || typeof connect.port !== 'number') return undefined;
  return { host: connect.host, port: connect.port };
}
