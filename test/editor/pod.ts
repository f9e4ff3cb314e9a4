// The pod: the demo's service and its client in namespaces of their own, by the program of test/editor/pod.
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { Answers } from './answers.ts';
import { until } from './wait.ts';

/** A running pod. Close ends everything in it. */
export class Pod {
  /** The service's process: what a target is named by. */
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #answers: Answers;

  private constructor(pid: number, process: ChildProcess, answers: Answers) {
    this.pid = pid;
    this.#process = process;
    this.#answers = answers;
  }

  /** Starts it with the programs of a folder, and waits for the client's first answer. */
  static async start(programs: string): Promise<Pod> {
    const services = [path.join(programs, 'shop'), path.join(programs, 'stock')];
    const child = spawn(path.join(programs, 'pod'), services, { stdio: ['pipe', 'pipe', 'inherit'] });
    const answers = new Answers('answeredBy');
    let pid: number | undefined;
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, word, rest] = /^(\w+) (.*)$/.exec(line) ?? [];
      if (word === 'pid') pid = Number(rest);
      if (word === 'answer' && rest !== undefined) answers.add(rest);
    });
    await answers.begun(30_000);
    if (pid === undefined) throw new Error('the pod tells no process');
    return new Pod(pid, child, answers);
  }

  /** Waits for the client to get an answer from who that it had not when this was called. */
  async answeredBy(who: string, limit: number): Promise<void> {
    await this.#answers.by(who, limit);
  }

  async close(): Promise<void> {
    this.#process.stdin?.end();
    await until('the pod ends', 10_000, () => this.#process.exitCode !== null || this.#process.signalCode !== null);
  }
}
