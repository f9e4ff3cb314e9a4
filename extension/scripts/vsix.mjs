// Packs the extension with the programs inside: build/podstep-<platform>.vsix of the repository.
// The one argument is the folder with the programs; without it, bin/ of the repository.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';

const here = path.dirname(import.meta.dirname);
const root = path.dirname(here);
const from = process.argv[2] ?? path.join(root, 'bin');
const programs = ['podstep', 'podstep-launch', 'podstep-agent'];
const platform = `${process.platform}-${process.arch}`;
const out = path.join(root, 'build', `podstep-${platform}.vsix`);

const missing = programs.filter((program) => !existsSync(path.join(from, program)));
if (missing.length > 0) {
  console.error(`vsix: not in ${from}: ${missing.join(', ')} (make build)`);
  process.exit(1);
}

rmSync(path.join(here, 'bin'), { recursive: true, force: true });
for (const program of programs) cpSync(path.join(from, program), path.join(here, 'bin', program));
if (existsSync(path.join(root, 'LICENSE'))) cpSync(path.join(root, 'LICENSE'), path.join(here, 'LICENSE'));
mkdirSync(path.dirname(out), { recursive: true });

const run = (...argv) => execFileSync('npx', ['--no-install', ...argv], { cwd: here, stdio: 'inherit' });
run('npm', 'run', '--silent', 'build');
run(
  'vsce',
  'package',
  '--no-dependencies',
  '--allow-missing-repository',
  '--skip-license',
  '--target',
  platform,
  '--out',
  out,
);
