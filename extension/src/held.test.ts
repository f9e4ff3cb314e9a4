import { expect, it } from 'vitest';
import { heldOf, isHeld, releases, waiting } from './held.ts';
import { type Summary } from './requests.ts';

const came: Summary = { id: 17, came: '2026-01-02T15:04:05Z', method: 'GET', path: '/orders/3', done: false };

it('says which request waits', () => {
  expect(waiting({ id: 17, method: 'GET', path: '/orders/3' })).toBe('Request 17 GET /orders/3 waits.');
});

it('offers what the adapter takes, and the debuggee first', () => {
  expect(releases.map((r) => r.action)).toEqual(['deliver', 'target', 'fail']);
});

it('finds the requests that are held', () => {
  const held = { ...came, went: 'held', why: 'a rule: break on every request' };
  expect(heldOf([came, held, { ...held, id: 18, done: true }, { ...came, went: 'debuggee' }])).toEqual([held]);
});

it.each([
  [{ id: 1, method: 'GET', path: '/', port: 80 }, true],
  [{ id: '1', method: 'GET', path: '/' }, false],
  [undefined, false],
  [{}, false],
])('knows the body of the event: %j', (body, want) => {
  expect(isHeld(body)).toBe(want);
});
