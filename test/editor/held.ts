// A request is held before the debuggee has it: the editor tells of it, and a button of its notification lets it go on.
import { finish } from './finish.ts';
import { shopInPython } from './project.ts';
import type { Stage } from './stage.ts';

export async function held(stage: Stage): Promise<void> {
  const project = shopInPython(stage.folder);
  const pod = await stage.pod();
  await pod.answeredBy('target', 10_000);
  stage.step(`process ${String(pod.pid)} is the target, and answers`);

  project.configure({
    type: 'podstep',
    request: 'launch',
    name: 'shop',
    debugger: 'debugpy',
    program: '${workspaceFolder}/shop.py',
    console: 'internalConsole',
    python: stage.python,
    mirror: {
      target: `process/${String(pod.pid)}`,
      incoming: { mode: 'steal', rules: [{ action: 'break', times: 1 }] },
      env: { override: { ANSWERED_BY: 'you' } },
    },
  });
  const editor = await stage.editor(project);
  await editor.setBreakpoint();
  await editor.run();
  await editor.stoppedAt(project.line);
  stage.step('stopped in a request that no rule holds');
  await editor.press(/^Request \d+ GET \/cart\/\S+ waits\.$/, 'Deliver');
  await editor.stoppedAt(project.line); // an error would be shown
  stage.step('the editor told of the one that waits, and its button lets it go on');
  stage.sessionRuns();

  await editor.disableBreakpoint(project.file);
  await finish(stage, editor, pod);
}
