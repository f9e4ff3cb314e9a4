import { describe, expect, it } from 'vitest';
import { complete, isMirrored, pipeOf, takeOver } from './configuration.ts';

const mirror = { target: 'process/42' };
const go = { type: 'go', request: 'launch', name: 'shop', program: '/shop', mirror };
const own = { type: 'podstep', request: 'launch', name: 'shop', mirror };
const nothing = (): readonly string[] => [];

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
    expect(takeOver({ ...go, env: { A: '1' }, dlvFlags: ['--x'] })).toEqual({
      ...go,
      env: { A: '1' },
      dlvFlags: ['--x'],
      type: 'podstep',
      __podstepType: 'go',
      debugger: 'dlv',
    });
  });

  it.each([
    ['go', 'dlv'],
    ['python', 'debugpy'],
    ['debugpy', 'debugpy'],
    ['cobol', undefined],
  ])('names the debugger of type %s', (type, want) => {
    expect(takeOver({ ...go, type })['debugger']).toBe(want);
  });

  it('leaves a debugger that the user named', () => {
    expect(takeOver({ ...go, debugger: 'lldb-dap' })['debugger']).toBe('lldb-dap');
  });

  it('does not change what it was given', () => {
    const given = Object.freeze({ ...go });
    expect(takeOver(given)).not.toBe(given);
    expect(given.type).toBe('go');
  });
});

describe('complete', () => {
  const folders = new Map([
    ['/shop', ['go.mod', 'main.go']],
    ['/site', ['index.html']],
  ]);
  const list = (folder: string): readonly string[] => folders.get(folder) ?? [];

  it.each([
    ['a Go file', { program: '/shop/main.go' }, 'dlv'],
    ['a folder with Go files', { program: '/shop' }, 'dlv'],
    ['a folder without', { program: '/site' }, undefined],
    ['a Python file', { program: '/shop.PY' }, 'debugpy'],
    ['a Python module', { module: 'shop' }, 'debugpy'],
    ['a binary', { program: '/bin/shop' }, undefined],
    ['nothing to go by', {}, undefined],
    ['a debugger named', { program: '/shop', debugger: 'gdb' }, 'gdb'],
  ])('%s', (_, attributes, want) => {
    expect(complete({ ...own, ...attributes }, list)['debugger']).toBe(want);
  });

  it.each([
    ['another type', { ...go, program: '/shop/main.go' }],
    ['a configuration taken over', { ...own, __podstepType: 'cobol', program: '/shop/main.go' }],
    ['a child session', { ...own, __podstepPipe: '/run/x', program: '/shop/main.go' }],
  ])('leaves %s alone', (_, configuration) => {
    expect(complete(configuration, nothing)).toBe(configuration);
  });
});

describe('pipeOf', () => {
  it('finds the endpoint of a child session', () => {
    expect(pipeOf({ ...own, __podstepPipe: '/run/x' })).toBe('/run/x');
  });

  it.each([[own], [{ ...own, __podstepPipe: 7 }]])('finds none', (configuration) => {
    expect(pipeOf(configuration)).toBeUndefined();
  });
});
