/**
 * A crontab with one more `@reboot` line, or with that line replaced; every other byte stays. `name` marks the line as
 * ours, see crontab(5): what stands behind a `#` there belongs to the shell, which takes it for a comment.
 */
export function withBootLine(crontab: string, name: string, argv: readonly string[]): string {
  const others = withoutBootLine(crontab, name);
  const newline = others === '' || others.endsWith('\n') ? '' : '\n';
  return `${others}${newline}@reboot ${argv.map(quoted).join(' ')} >/dev/null 2>&1 ${mark(name)}\n`;
}

export function withoutBootLine(crontab: string, name: string): string {
  return crontab
    .split(/(?<=\n)/)
    .filter((line) => !isOurs(line, name))
    .join('');
}

export function hasBootLine(crontab: string, name: string): boolean {
  return crontab.split('\n').some((line) => isOurs(line, name));
}

function isOurs(line: string, name: string): boolean {
  return line.startsWith('@reboot ') && line.trimEnd().endsWith(` ${mark(name)}`);
}

function mark(name: string): string {
  return `# ${name}`;
}

/** One word of sh. cron itself ends a command at the first `%` that has no backslash, also inside of quotes, and takes the backslash away. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`).replaceAll('%', '\\%')}'`;
}
