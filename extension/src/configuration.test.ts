import { describe, expect, it } from 'vitest';
import { childEndpoint, isMirrored, takeOver, wantedDebugger } from './configuration.ts';

const mirror = { target: 'process/42' };
const go = { type: 'go', request: 'launch', name: 'shop', program: '/shop', mirror };
const own = { type: 'podstep', request: 'launch', name: 'shop', mirror };

describe('isMirrored', () => {
  it.each([
    ['a block', go, true],
    ['no block', { type: 'go', request: 'launch', name: 'shop' }, false],
    ['a block switched off', { ...go, mirror: null }, false],
    ['a block of the wrong shape, for the adapter to refuse', { ...go, mirror: 'process/42' }, true],
    ["podstep's own type", own, false],
    ['the same configuration a second time', takeOver(go), false],
    ["js-debug's child session", { ...go, type: 'pwa-node', __pendingTargetId: '1' }, false],
    ["debugpy's child session", { ...go, type: 'debugpy', subProcessId: 7 }, false],
    ['a child session by its parent', { ...go, __parentId: 'a' }, false],
  ])('%s', (_, configuration, want) => {
    expect(isMirrored(configuration)).toBe(want);
  });
});

describe('takeOver', () => {
  it('keeps every attribute and the type', () => {
    const given = Object.freeze({ ...go, env: { A: '1' }, dlvFlags: ['--x'] });
    expect(takeOver(given)).toEqual({ ...given, type: 'podstep', __podstepType: 'go' });
  });
});

describe('wantedDebugger', () => {
  it.each([
    ['the type it had', takeOver(go), 'go'],
    ['what it names', { ...takeOver(go), debugger: 'dlv' }, 'dlv'],
    ['nothing', own, undefined],
    ['nothing of another shape', { ...own, debugger: 5 }, undefined],
  ])('is %s', (_, configuration, want) => {
    expect(wantedDebugger(configuration)).toBe(want);
  });
});

describe('childEndpoint', () => {
  const connect = { host: '127.0.0.1', port: 5678 };
  const child = { ...own, request: 'attach', subProcessId: 7, connect };

  it('finds where debugpy serves a child session', () => {
    expect(childEndpoint(child)).toEqual(connect);
  });

  it.each([
    ['in a session of its own', own],
    ['in the user attaching somewhere', { ...own, connect }],
    ['without an endpoint', { ...own, subProcessId: 7 }],
    ['in an endpoint of the wrong shape', { ...child, connect: { host: '127.0.0.1', port: '5678' } }],
    ['in an endpoint without a host', { ...child, connect: { port: 5678 } }],
    ['in an endpoint that is nothing', { ...child, connect: null }],
  ])('finds none %s', (_, configuration) => {
    expect(childEndpoint(configuration)).toBeUndefined();
  });
});
