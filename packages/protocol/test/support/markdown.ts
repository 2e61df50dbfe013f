/** One page taken apart as far as our tests need it. */
export class Page {
  readonly #lines: string[];

  constructor(text: string) {
    this.#lines = text.split('\n');
  }

  /** Headings of a level, in order. */
  headings(level: number): string[] {
    const mark = `${'#'.repeat(level)} `;
    return this.#outsideCode()
      .filter((line) => line.startsWith(mark))
      .map((line) => line.slice(mark.length));
  }

  /** From a heading to the next of the same or a higher level. Throws when it is not there. */
  section(heading: string): Page {
    const lines = this.#outsideCode();
    const start = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === heading);
    if (start < 0) throw new Error(`no section "${heading}"`);
    const level = /^#+/.exec(lines[start] ?? '')?.[0].length ?? 1;
    const end = lines.findIndex((line, at) => at > start && new RegExp(`^#{1,${level}} `).test(line));
    return new Page(this.#lines.slice(start, end < 0 ? undefined : end).join('\n'));
  }

  /** The rows of the table whose first header cell is `first`, as cells without backticks. */
  table(first: string): string[][] {
    const start = this.#lines.findIndex(
      (line, at) => line.startsWith(`| ${first} |`) && this.#lines[at + 1]?.startsWith('| ---'),
    );
    if (start < 0) throw new Error(`no table "${first}"`);
    const rows: string[][] = [];
    for (const line of this.#lines.slice(start + 2)) {
      if (!line.startsWith('|')) break;
      rows.push(
        line
          .slice(1, -1)
          .split(' | ')
          .map((cell) => cell.trim().replaceAll('`', '')),
      );
    }
    return rows;
  }

  /** `- **label**: text` of this section. */
  labelled(label: string): string | undefined {
    const mark = `- **${label}**: `;
    return this.#lines.find((line) => line.startsWith(mark))?.slice(mark.length);
  }

  /** The lines of the code block with this language. */
  code(language: string): string[] {
    const start = this.#lines.indexOf(`\`\`\`${language}`);
    if (start < 0) throw new Error(`no code block "${language}"`);
    return this.#lines.slice(start + 1, this.#lines.indexOf('```', start + 1));
  }

  get text(): string {
    return this.#lines.join('\n');
  }

  /** The lines, those in code blocks empty, at their places. */
  #outsideCode(): string[] {
    let inCode = false;
    return this.#lines.map((line) => {
      if (line.startsWith('```')) inCode = !inCode;
      return inCode ? '' : line;
    });
  }
}
