// Puts what the adapter knows of the attributes into package.json: the "configurationAttributes" of the one debugger.
// A test of the adapter's configuration fails when they are stale.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const here = path.dirname(import.meta.dirname);
const manifest = path.join(here, 'package.json');
const argv = ['run', './adapter/cmd/podstep', 'schema', '--package-json'];
const attributes = JSON.parse(execFileSync('go', argv, { cwd: path.dirname(here), encoding: 'utf8' }));

const content = JSON.parse(readFileSync(manifest, 'utf8'));
const [contributed] = content.contributes.debuggers;
contributed.configurationAttributes = attributes;
writeFileSync(manifest, JSON.stringify(content, undefined, 2) + '\n');
execFileSync('npx', ['--no-install', 'prettier', '--log-level=warn', '--write', manifest], {
  cwd: here,
  stdio: 'inherit',
});
