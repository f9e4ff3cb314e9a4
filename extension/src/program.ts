// Where the podstep program is.
import path from 'node:path';

/** Where to look. */
export interface Places {
  /** The setting podstep.path. Empty: not set. */
  readonly setting: string;
  /** The extension's own folder. */
  readonly extension: string;
  /** The variable PATH. */
  readonly path: string;
}

/** Returns the program of the setting, else the one that came with the extension, else the one in PATH; undefined when there is none. */
export function findProgram(places: Places, isExecutable: (file: string) => boolean): string | undefined {
  if (places.setting !== '') return isExecutable(places.setting) ? places.setting : undefined;
  const folders = [
    path.join(places.extension, 'bin'),
    ...places.path.split(path.delimiter).filter((folder) => path.isAbsolute(folder)),
  ];
  return folders.map((folder) => path.join(folder, 'podstep')).find((file) => isExecutable(file));
}
