// What a client of the target was answered, line by line.
import { until } from './wait.ts';

/** A client's answers, in the order in which they came. */
export class Answers {
  readonly #lines: string[] = [];
  readonly #field: string;

  /** Lines are or contain JSON; field is the key that says who answered. */
  constructor(field: string) {
    this.#field = field;
  }

  add(line: string): void {
    this.#lines.push(line);
  }

  /** Waits for an answer from anybody. */
  async begun(limit: number): Promise<void> {
    await until('the client is answered', limit, () => this.#lines.length > 0);
  }

  /** Waits for an answer from who that was not there when this was called. */
  async by(who: string, limit: number): Promise<void> {
    const from = this.#lines.length;
    const want = new RegExp(`"${this.#field}": ?"${who}"`);
    await until(`the client gets an answer from ${who}`, limit, () =>
      this.#lines.slice(from).some((line) => want.test(line)),
    ).catch((error: unknown) => {
      throw new Error(`the client got ${this.#lines.slice(from).slice(-3).join(' | ')}`, { cause: error });
    });
  }
}
