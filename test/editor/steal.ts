// The main scenario: the user's own configuration of type "go", a breakpoint, F5, and a request of the pod's client stops there.
import { finish } from './finish.ts';
import { shopInGo } from './project.ts';
import type { Stage } from './stage.ts';

export async function steal(stage: Stage): Promise<void> {
  const project = shopInGo(stage.folder);
  const pod = await stage.pod();
  await pod.answeredBy('target', 10_000);
  stage.step(`process ${String(pod.pid)} is the target, and answers`);

  project.configure({
    type: 'go',
    request: 'launch',
    name: 'shop',
    program: '${workspaceFolder}',
    mirror: {
      target: `process/${String(pod.pid)}`,
      incoming: { mode: 'steal' },
      env: { override: { ANSWERED_BY: 'you' } },
    },
  });
  const editor = await stage.editor(project);
  stage.step('the editor is open');
  await editor.setBreakpoint();
  stage.step(`a breakpoint is set in line ${String(project.line)} of ${project.file}`);

  await editor.run();
  stage.step('F5');
  await editor.stoppedAt(project.line);
  await editor.widen(420);
  const variables = await editor.variables('Locals', /^client = "10\.42\.0\.99:\d+"$/);
  stage.step(
    `stopped in a request of the pod's client: ${variables.filter((row) => /^(id|client) = /.test(row)).join(', ')}`,
  );
  await pod.answeredBy('target', 5_000);
  stage.step('meanwhile the target answers the others');
  stage.sessionRuns();

  await stage.picture();

  await editor.disableBreakpoint(project.file); // a request that came at the same time would stop there and end the step
  await editor.stepOver();
  await editor.stoppedAt(project.line + 1);
  await editor.variables('Locals', /^price = 200$/);
  stage.step('one step further: the price, from a service whose name only the pod knows');

  await finish(stage, editor, pod);
}
