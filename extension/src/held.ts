// Requests that a rule holds until somebody releases them. The adapter holds them and knows how.
import { type Summary } from './requests.ts';

/** The body of the event podstep/held, as far as it is shown. */
export interface Held {
  readonly id: number;
  readonly method: string;
  readonly path: string;
}

/** One way for a held request to go on: title is the button, label the line to choose. */
export interface Release {
  readonly title: string;
  readonly label: string;
  readonly action: 'deliver' | 'target' | 'fail';
}

/** All ways, the usual one first. */
export const releases: readonly Release[] = [
  { title: 'Deliver', label: 'Deliver it to the program', action: 'deliver' },
  { title: 'To the target', label: 'Give it to the target', action: 'target' },
  { title: 'Fail', label: 'Answer it with 503', action: 'fail' },
];

/** Says whether a body is that of the event. */
export function isHeld(body: unknown): body is Held {
  const held = body as Partial<Held> | undefined;
  return typeof held?.id === 'number' && typeof held.method === 'string' && typeof held.path === 'string';
}

/** What the person is told. */
export function waiting(held: Held): string {
  return `Request ${String(held.id)} ${held.method} ${held.path} waits.`;
}

/** Those that wait for somebody. What is only delayed goes on by itself. */
export function heldOf(requests: readonly Summary[]): Summary[] {
  return requests.filter((r) => r.went === 'held' && !r.done);
}
