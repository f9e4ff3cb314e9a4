import { expect, it } from 'vitest';
import { failureOf } from './message.ts';

const response = { type: 'response', command: 'launch', success: false };

it.each([
  ['the text for a person', { ...response, message: 'x', body: { error: { id: 3102, format: 'No.' } } }, 'launch: No.'],
  ['the short message', { ...response, message: 'cancelled' }, 'launch: cancelled'],
  ['that nothing was said', response, 'launch: unknown'],
])('tells %s', (_, message, want) => {
  expect(failureOf(message)).toBe(want);
});

it.each([[{ ...response, success: true }], [{ type: 'event', event: 'output' }], [null], ['text'], [undefined]])(
  'is silent about %j',
  (message) => {
    expect(failureOf(message)).toBeUndefined();
  },
);
