import { expect, it } from 'vitest';
import { last, lines, type Summary } from './requests.ts';

const pay: Summary = {
  id: 1,
  came: '2026-01-02T15:04:05Z',
  method: 'POST',
  path: '/pay',
  query: 'a=b',
  status: 201,
  went: 'debuggee',
  done: true,
  tookMs: 12.34,
};
const replay: Summary = { ...pay, id: 3, replayOf: 1, done: false };
const away: Summary = {
  id: 2,
  came: pay.came,
  method: 'GET',
  path: '/',
  went: 'target',
  why: 'the debugger is stopped',
  done: true,
};
const unread: Summary = { id: 4, came: pay.came, method: '', path: '', done: true, failed: 'reset' };

it('lists the newest first, with what became of each', () => {
  expect(lines([pay, away, replay, unread])).toEqual([
    { id: 4, label: 'request 4', description: '#4 · 0.0 ms · reset' },
    { id: 3, label: 'POST /pay?a=b', description: '#3 · replay of #1 · 201 · not over' },
    { id: 2, label: 'GET /', description: '#2 · 0.0 ms · went to target · the debugger is stopped' },
    { id: 1, label: 'POST /pay?a=b', description: '#1 · 201 · 12.3 ms' },
  ]);
});

it.each([
  ['the newest that is no replay', [pay, away, replay, unread], 2],
  ['none', [replay, unread], undefined],
])('replays %s', (_, requests, want) => {
  expect(last(requests)?.id).toBe(want);
});
