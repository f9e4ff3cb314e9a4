// The shop as a deployment of two pods in a cluster, with a customer in a pod of its own; by kubectl, as a person would.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Answers } from './answers.ts';
import { until } from './wait.ts';

const run = promisify(execFile);
const namespace = 'editor';

/** What kubectl prints. */
async function kubectl(...args: readonly string[]): Promise<string> {
  const { stdout } = await run('kubectl', args);
  return stdout;
}

/** The part of a pod that the tests look at. */
interface PodStatus {
  readonly metadata: { readonly name: string };
  readonly status: {
    readonly ephemeralContainerStatuses?: readonly {
      readonly name: string;
      readonly state: { readonly running?: object };
    }[];
  };
}

/** A deployed shop. Close removes it with its namespace. */
export class Workload {
  /** What a mirror block names. */
  readonly target = 'deployment/shop';
  readonly namespace = namespace;
  /** The address of the customer's pod. */
  readonly customer: string;
  readonly #log: ChildProcess;
  readonly #answers: Answers;

  private constructor(customer: string, log: ChildProcess, answers: Answers) {
    this.customer = customer;
    this.#log = log;
    this.#answers = answers;
  }

  /** Deploys it and waits for the customer's first answer. */
  static async deploy(): Promise<Workload> {
    await kubectl('apply', '-f', path.join(import.meta.dirname, 'shop.yaml'));
    await kubectl(
      '-n',
      namespace,
      'wait',
      '--for=condition=Available',
      '--timeout=60s',
      'deployment/shop',
      'deployment/stock',
    );
    await kubectl('-n', namespace, 'wait', '--for=condition=Ready', '--timeout=60s', 'pod/customer');
    const customer = await kubectl('-n', namespace, 'get', 'pod/customer', '-o', 'jsonpath={.status.podIP}');
    const log = spawn('kubectl', ['-n', namespace, 'attach', '--quiet', 'pod/customer'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const answers = new Answers('by');
    createInterface({ input: log.stdout }).on('line', (line) => {
      answers.add(line);
    });
    await answers.begun(30_000);
    return new Workload(customer, log, answers);
  }

  /** Waits for the customer to get an answer from who that it had not when this was called. */
  async answeredBy(who: string, limit: number): Promise<void> {
    await this.#answers.by(who, limit);
  }

  /** The agents that run in the pods, as pod/container. */
  async agents(): Promise<readonly string[]> {
    const { items } = JSON.parse(await kubectl('-n', namespace, 'get', 'pods', '-o', 'json')) as {
      items: readonly PodStatus[];
    };
    return items.flatMap(({ metadata, status }) =>
      (status.ephemeralContainerStatuses ?? [])
        .filter(({ state }) => state.running !== undefined)
        .map(({ name }) => `${metadata.name}/${name}`),
    );
  }

  async close(): Promise<void> {
    this.#log.kill();
    await until('kubectl ends', 10_000, () => this.#log.exitCode !== null || this.#log.signalCode !== null);
    await kubectl('delete', 'namespace', namespace, '--wait=false');
  }
}
