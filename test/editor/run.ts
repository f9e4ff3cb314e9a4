// Runs the scenarios named on the command line, all without one, and says how many passed. Without a $KUBECONFIG "cluster" is not among all.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { cluster } from './cluster.ts';
import { held } from './held.ts';
import { Stage, type Tools } from './stage.ts';
import { steal } from './steal.ts';
import { terminal } from './terminal.ts';

const scenarios: ReadonlyMap<string, (stage: Stage) => Promise<void>> = new Map([
  ['steal', steal],
  ['terminal', terminal],
  ['held', held],
  ['cluster', cluster],
]);

/** The device that whatever leaves this machine would go by: see run.sh. */
const outside = 'outside';

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`${name} is not set: start this with test/editor/run.sh`);
  return value;
}

/** Runs one scenario and says whether it passed. */
async function passes(name: string, scenario: (stage: Stage) => Promise<void>, tools: Tools): Promise<boolean> {
  console.log(name);
  const stage = new Stage(tools);
  try {
    await scenario(stage);
  } catch (error) {
    console.error(`${name} failed:`, error);
    console.error(await stage.account().catch(String));
    await stage.close().catch(console.error);
    return false;
  }
  await stage.close();
  stage.remove();
  return true;
}

/** Packets that were sent to the outside. Field 10 of the line: proc_pid_net(5). */
function sentOutside(): number {
  const line = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find((text) => text.trim().startsWith(`${outside}:`));
  const packets = line?.trim().split(/\s+/)[10];
  if (packets === undefined) throw new Error(`no device ${outside}: start this with test/editor/run.sh`);
  return Number(packets);
}

const root = path.dirname(path.dirname(import.meta.dirname));
const tools = {
  chromium: required('PODSTEP_CHROMIUM'),
  server: required('PODSTEP_EDITOR_SERVER'),
  vsix: path.join(root, 'build', `podstep-${process.platform}-${process.arch}.vsix`),
  programs: path.join(root, 'build', 'editor'),
  python: path.join(root, 'build', 'venv', 'bin', 'python'),
  picture: process.env['PODSTEP_PICTURE'],
};
const all = [...scenarios.keys()].filter((name) => name !== 'cluster' || process.env['KUBECONFIG'] !== undefined);
const wanted = process.argv.length > 2 ? process.argv.slice(2) : all;

const results: boolean[] = [];
for (const name of wanted) {
  const scenario = scenarios.get(name);
  if (scenario === undefined) throw new Error(`no scenario "${name}": ${[...scenarios.keys()].join(', ')}`);
  results.push(await passes(name, scenario, tools));
}
const sent = sentOutside();
console.log(`packets sent to other machines: ${String(sent)}`);
results.push(sent === 0);
const passed = results.filter(Boolean).length;
console.log(`${String(passed)} passed, ${String(results.length - passed)} failed`);
process.exitCode = passed === results.length ? 0 : 1;
