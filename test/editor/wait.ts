// Waiting with a limit: nothing in this test waits for ever, and what was waited for stands in the error.
import { setTimeout as sleep } from 'node:timers/promises';

const interval = 100;

/** Asks until the answer is neither undefined nor false, and returns it. Fails after limit milliseconds with what was waited for. */
export async function until<T>(
  what: string,
  limit: number,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const end = Date.now() + limit;
  while (Date.now() < end) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    await sleep(interval);
  }
  throw new Error(`waited ${String(limit / 1000)} s in vain: ${what}`);
}
