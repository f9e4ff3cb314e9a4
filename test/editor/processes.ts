// The processes that a session began, found by a mark in their environment, which they keep whatever becomes their parent; and the
// agent, which has no environment of ours, by where its program is.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';

/** The variable of the mark. */
export const markName = 'PODSTEP_EDITOR_TEST';

/** A process of this machine. */
export interface Running {
  readonly pid: number;
  readonly program: string;
}

/** The processes with the mark or a program in folder, but for those of the editor itself (its Node) and the shells of its terminal. */
export function begun(mark: string, folder: string): readonly Running[] {
  const own = new Set([path.basename(process.execPath), 'bash', 'sh', 'dash', 'rg']);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => describe(pid, `${markName}=${mark}`, folder))
    .filter((running) => !own.has(path.basename(running.program)));
}

/** The process, when it has the entry in its environment or its program in folder. None when it went away meanwhile. */
function describe(pid: string, entry: string, folder: string): readonly Running[] {
  try {
    const program = readlinkSync(`/proc/${pid}/exe`);
    const isBegun =
      program.startsWith(folder + path.sep) || readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(entry);
    return isBegun ? [{ pid: Number(pid), program }] : [];
  } catch {
    return [];
  }
}
