// A colleague asks for stolen ports. The adapter tells of it, and gives them back when it is told to.

/** The body of the event podstep/asked. */
export interface Question {
  readonly id: number;
  readonly name: string;
  readonly ports: readonly number[];
  /** The question in words. */
  readonly text: string;
  /** Seconds that the answer is waited for. */
  readonly wait: number;
}

/** An answer, as the request that gives it. */
export interface Answer {
  readonly request: 'podstep/yield' | 'podstep/keep';
  readonly arguments: { readonly ports: readonly number[] } | { readonly id: number };
}

export const releaseButton = 'Release';
export const keepButton = 'Keep';

/** The question that the event's body is; undefined when it is none. */
export function questionOf(body: unknown): Question | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const q = body as Partial<Question>;
  if (typeof q.id !== 'number' || typeof q.text !== 'string' || !Array.isArray(q.ports)) return undefined;
  return { id: q.id, name: q.name ?? '', ports: q.ports, text: q.text, wait: q.wait ?? 0 };
}

/** What the pressed button answers. A notification that is closed answers nothing: whoever asked hears that nobody did. */
export function answerTo(question: Question, button: string | undefined): Answer | undefined {
  if (button === releaseButton) return { request: 'podstep/yield', arguments: { ports: question.ports } };
  if (button === keepButton) return { request: 'podstep/keep', arguments: { id: question.id } };
  return undefined;
}
