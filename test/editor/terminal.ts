// The same with podstep's own type, Python, and the program in the editor's terminal: there the editor starts the debuggee, not podstep.
import { finish } from './finish.ts';
import { shopInPython } from './project.ts';
import type { Stage } from './stage.ts';

export async function terminal(stage: Stage): Promise<void> {
  const project = shopInPython(stage.folder);
  const pod = await stage.pod();
  stage.step(`process ${String(pod.pid)} is the target`);

  project.configure({
    type: 'podstep',
    request: 'launch',
    name: 'shop',
    debugger: 'debugpy',
    program: '${workspaceFolder}/shop.py',
    console: 'integratedTerminal',
    python: stage.python,
    mirror: {
      target: `process/${String(pod.pid)}`,
      incoming: { mode: 'steal' },
      env: { override: { ANSWERED_BY: 'you' } },
    },
  });
  const editor = await stage.editor(project);
  await editor.setBreakpoint();
  stage.step(`a breakpoint is set in line ${String(project.line)} of ${project.file}`);

  await editor.run();
  await editor.stoppedAt(project.line);
  await editor.variables('Locals', /^client = '10\.42\.0\.99:\d+'$/);
  stage.step("stopped in a request of the pod's client");
  await pod.answeredBy('target', 5_000);
  stage.step('meanwhile the target answers the others');
  stage.sessionRuns();

  await editor.disableBreakpoint(project.file);
  await finish(stage, editor, pod);
}
