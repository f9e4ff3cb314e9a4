// The main scenario in a real cluster: F5, and a request that one pod makes to another stops here, whichever replica it went to.
import { finish } from './finish.ts';
import { shopInGo } from './project.ts';
import type { Stage } from './stage.ts';
import { until } from './wait.ts';

export async function cluster(stage: Stage): Promise<void> {
  const project = shopInGo(stage.folder);
  const shop = await stage.workload();
  await shop.answeredBy('target', 10_000);
  stage.step(`${shop.target} runs in two pods, and answers the customer at ${shop.customer}`);

  project.configure({
    type: 'go',
    request: 'launch',
    name: 'shop',
    program: '${workspaceFolder}',
    env: { SHOP_PORT: '8080' },
    mirror: {
      target: shop.target,
      namespace: shop.namespace,
      agent: { linger: 0 },
      incoming: { mode: 'steal', ports: { '80': 8080 } },
      env: { override: { ANSWERED_BY: 'you' } },
    },
  });
  const editor = await stage.editor(project);
  await editor.setBreakpoint();
  stage.step(`the editor is open, with a breakpoint in line ${String(project.line)} of ${project.file}`);

  await editor.run();
  await editor.stoppedAt(project.line);
  await editor.variables('Locals', new RegExp(`^client = "${shop.customer.replaceAll('.', '\\.')}:\\d+"$`));
  stage.step("F5, and stopped in a request of the customer, at its pod's true address");
  await shop.answeredBy('target', 5_000);
  stage.step('meanwhile the pods answer the others');
  stage.sessionRuns(['podstep', 'podstep-launch']);
  const agents = await shop.agents();
  if (agents.length !== 2) throw new Error(`agents: ${agents.join(', ')}; want one in each pod`);

  await editor.disableBreakpoint(project.file); // a request that came at the same time would stop there and end the step
  await editor.stepOver();
  await editor.stoppedAt(project.line + 1);
  await editor.variables('Locals', /^price = [1-9]\d*$/);
  stage.step('one step further: the price, from a service of the cluster');

  await finish(stage, editor, shop);
  await until('no agent is left in the pods', 10_000, async () => (await shop.agents()).length === 0);
  stage.step('nor in the pods');
}
