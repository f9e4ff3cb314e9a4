// The processes that a session began, found by a mark in their environment: whatever becomes their parent, they keep it.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';

/** The variable of the mark. */
export const markName = 'PODSTEP_EDITOR_TEST';

/** A process of this machine. */
export interface Running {
  readonly pid: number;
  readonly program: string;
}

/** The processes with the mark, but for those of the editor itself (its Node) and the shells of its terminal. */
export function marked(mark: string): readonly Running[] {
  const own = new Set([path.basename(process.execPath), 'bash', 'sh', 'dash', 'rg']);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => describe(pid, `${markName}=${mark}`))
    .filter((running) => !own.has(path.basename(running.program)));
}

/** The process, when it has the entry in its environment. None when it went away meanwhile. */
function describe(pid: string, entry: string): readonly Running[] {
  try {
    if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(entry)) return [];
    return [{ pid: Number(pid), program: readlinkSync(`/proc/${pid}/exe`) }];
  } catch {
    return [];
  }
}
