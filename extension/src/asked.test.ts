import { expect, it } from 'vitest';
import { answerTo, keepButton, questionOf, releaseButton } from './asked.ts';

const body = {
  id: 3,
  name: 'anna@desk',
  target: 'deployment/orders',
  ports: [8080],
  wait: 40,
  text: 'anna@desk asks you to release port 8080 of deployment/orders (waiting 40 s)',
};

it('reads the question, and nothing else', () => {
  expect(questionOf(body)).toEqual({ id: 3, name: 'anna@desk', ports: [8080], wait: 40, text: body.text });
  for (const other of [undefined, null, 'x', {}, { ...body, id: '3' }, { ...body, ports: 8080 }])
    expect(questionOf(other)).toBeUndefined();
});

it.each([
  [releaseButton, { request: 'podstep/yield', arguments: { ports: [8080] } }],
  [keepButton, { request: 'podstep/keep', arguments: { id: 3 } }],
  [undefined, undefined],
])('answers %s', (button, want) => {
  expect(answerTo(body, button)).toEqual(want);
});
