// The folder that the editor opens: a copy of one of the demo's services, with a launch.json.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const debuggees = path.join(path.dirname(import.meta.dirname), 'debuggees');

/** A service to debug, copied to a folder of its own. */
export class Project {
  readonly folder: string;
  /** The file with the breakpoint, and its line. */
  readonly file: string;
  readonly line: number;

  /** Copies the files of source to folder. The breakpoint is the first line that has the mark. */
  constructor(source: string, folder: string, file: string, mark: string) {
    cpSync(source, folder, { recursive: true });
    const lines = readFileSync(path.join(folder, file), 'utf8').split('\n');
    this.folder = folder;
    this.file = file;
    this.line = lines.findIndex((text) => text.includes(mark)) + 1;
    if (this.line === 0) throw new Error(`${path.join(source, file)} has no line with ${mark}`);
  }

  /** Writes a launch.json with one configuration. */
  configure(configuration: Readonly<Record<string, unknown>>): void {
    const folder = path.join(this.folder, '.vscode');
    mkdirSync(folder);
    const launch = { version: '0.2.0', configurations: [configuration] };
    writeFileSync(path.join(folder, 'launch.json'), JSON.stringify(launch, undefined, 2));
  }
}

/** The shop in Go, as a module of its own. */
export function shopInGo(folder: string): Project {
  const project = new Project(path.join(debuggees, 'go', 'shop'), path.join(folder, 'shop'), 'main.go', '// <- ');
  writeFileSync(path.join(project.folder, 'go.mod'), 'module shop\n\ngo 1.26\n');
  return project;
}

/** The shop in Python. */
export function shopInPython(folder: string): Project {
  return new Project(path.join(debuggees, 'python'), path.join(folder, 'shop'), 'shop.py', '# <- ');
}
