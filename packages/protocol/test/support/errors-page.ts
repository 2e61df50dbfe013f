import { errorKinds } from '../../src/wire/index.ts';

/** `docs/errors.md`, made from the registry. */
export function errorsPage(): string {
  const rows = Object.entries(errorKinds)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([code, kind]) => {
      const words = kind.words === undefined ? '' : `\`${kind.words}\``;
      const cells = [
        `\`${code}\``,
        kind.when.replaceAll('|', '\\|'),
        words,
        kind.retryable ? 'yes' : 'no',
        kind.http,
        kind.close ?? '',
      ];
      return `| ${cells.join(' | ')} |`;
    });
  return `# Error codes

Every failure has one of these codes, on stdout, in the API and on the wire alike. Programs decide by the code, never by the message.
This page is made from the registry, \`packages/protocol/src/wire/errors.ts\`; a test fails when the two differ
(\`npx vitest run --project unit packages/protocol/test/docs.test.ts -u\` writes it anew).

- **words**: the message contains them exactly; agents look for them.
- **retryable**: repeating the same line cannot run a command twice. An answer's own \`retryable\` wins over this table: who reports the error may know better.
- **http**: status of an API answer. **close**: WebSocket close code when it ends a connection; 1000 where there is none.

| code | when | words | retryable | http | close |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
`;
}
