// The requests that came to a session, as lines to choose from. The adapter has them.

/** A request as the adapter lists it. Times are in milliseconds. */
export interface Summary {
  readonly id: number;
  readonly came: string;
  readonly method: string;
  readonly path: string;
  readonly query?: string;
  readonly status?: number;
  readonly went?: string;
  readonly why?: string;
  readonly done: boolean;
  readonly failed?: string;
  readonly tookMs?: number;
  readonly replayOf?: number;
}

/** One line of the list. */
export interface Line {
  readonly id: number;
  readonly label: string;
  readonly description: string;
}

/** The lines, the newest request first. */
export function lines(requests: readonly Summary[]): Line[] {
  return requests.map((r) => ({ id: r.id, label: title(r), description: fate(r) })).reverse();
}

/** Method and path, as people call a request. */
export function title(r: Summary): string {
  const query = r.query === undefined || r.query === '' ? '' : `?${r.query}`;
  return r.method === '' ? `request ${String(r.id)}` : `${r.method} ${r.path}${query}`;
}

/** The newest request that is no replay itself; undefined when there is none. */
export function last(requests: readonly Summary[]): Summary | undefined {
  return requests.findLast((r) => r.replayOf === undefined && r.method !== '');
}

function fate(r: Summary): string {
  const words = [`#${String(r.id)}`];
  if (r.replayOf !== undefined) words.push(`replay of #${String(r.replayOf)}`);
  if (r.status !== undefined) words.push(String(r.status));
  words.push(r.done ? `${(r.tookMs ?? 0).toFixed(1)} ms` : 'not over');
  if (r.went !== undefined && r.went !== 'debuggee') words.push(`went to ${r.went}`);
  for (const more of [r.why, r.failed]) if (more !== undefined && more !== '') words.push(more);
  return words.join(' · ');
}
