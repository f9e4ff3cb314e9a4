import { expect, it } from 'vitest';
import { findProgram } from './program.ts';

const places = { setting: '', extension: '/ext', path: '/usr/bin:relative::/opt/bin' };
const only =
  (...files: string[]) =>
  (file: string): boolean =>
    files.includes(file);

it.each([
  ['the one of the setting', { ...places, setting: '/my/ps' }, ['/my/ps', '/ext/bin/podstep'], '/my/ps'],
  ['no other than the one of the setting', { ...places, setting: '/my/ps' }, ['/ext/bin/podstep'], undefined],
  ['the one that came with the extension', places, ['/usr/bin/podstep', '/ext/bin/podstep'], '/ext/bin/podstep'],
  ['the first in PATH', places, ['/opt/bin/podstep', '/usr/bin/podstep'], '/usr/bin/podstep'],
  ['none in a relative folder of PATH', places, ['relative/podstep', 'podstep'], undefined],
])('finds %s', (_, where, files, want) => {
  expect(findProgram(where, only(...files))).toBe(want);
});
