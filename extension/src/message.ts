// What of the debug adapter protocol the extension looks at: failures, for its log.

/** Returns what a failed response says, with the request it answers; undefined for every other message. */
export function failureOf(message: unknown): string | undefined {
  if (!isRecord(message) || message['type'] !== 'response' || message['success'] !== false) return undefined;
  const body = isRecord(message['body']) ? message['body'] : {};
  const error = isRecord(body['error']) ? body['error'] : {};
  const text = [error['format'], message['message']].find((candidate) => typeof candidate === 'string');
  return `${textOf(message['command'])}: ${textOf(text)}`;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : 'unknown';
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
