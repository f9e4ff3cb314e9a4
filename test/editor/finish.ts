// How every scenario ends.
import type { Editor } from './editor.ts';
import type { Stage } from './stage.ts';

/** What is borrowed, as its client sees it. */
interface Borrowed {
  answeredBy(who: string, limit: number): Promise<void>;
}

/** Goes on, sees that the client is answered from here, stops the session, and sees that it is as if there had been none. */
export async function finish(stage: Stage, editor: Editor, borrowed: Borrowed): Promise<void> {
  await editor.run();
  await borrowed.answeredBy('you', 10_000);
  stage.step('the client gets the answer from here');

  await editor.stop();
  await borrowed.answeredBy('target', 5_000);
  stage.step('the session is stopped, and the target answers again');
  await editor.ended();
  await stage.nothingLeft();
  stage.step('nothing is left of it');
}
