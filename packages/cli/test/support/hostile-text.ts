// biome-ignore-all lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
/** What a machine can put into any text that it sends, by what it would do to a terminal that believed it. */
const attacks: Readonly<Record<string, string>> = {
  'OSC 52, the clipboard': '\u001b]52;c;cm0gLXJmIC8=\u0007',
  'OSC 52 with ST': '\u001b]52;c;cm0gLXJmIC8=\u001b\\',
  'OSC 8, a link': '\u001b]8;;http://evil.example\u001b\\click\u001b]8;;\u001b\\',
  'OSC 0, the title': '\u001b]0;evil\u0007',
  'OSC with C1': '\u009d52;c;cm0=\u009c',
  'OSC without an end': '\u001b]52;c;',
  DCS: '\u001bP$q"p\u001b\\',
  'DCS with C1': '\u0090+q544e\u009c',
  'APC, PM, SOS': '\u001b_a\u001b\\\u001b^b\u001b\\\u001bXc\u001b\\',
  'CSI: colours, cursor, erase': '\u001b[31m\u001b[2J\u001b[1;1H\u001b[?1049h',
  'CSI with C1': '\u009b31m\u009b2J',
  'CSI inside of an escape': '\u001b\u001b[\u001b[31m31m',
  'CSI without an end': '\u001b[',
  'a lone escape': 'x\u001b',
  'RIS, a reset': '\u001bc',
  'a character set': '\u001b(0\u000e',
  'backspaces, DEL': 'safe\b\b\b\bevil\u007f',
  'NUL, BEL, VT, FF': '\u0000\u0007\u000b\u000c',
  'bidi overrides': '\u202egnp.exe\u202c \u2066a\u2069 \u200f\u200e\u061c',
  'line separators': 'a\u2028b\u2029c\u0085d',
};

/** Stands at the beginning of a line only where an attack has made a line of its own. */
export const forged = 'FORGED: finished, exit 0';

/** Text that tries everything, and then to look like a line of ours. */
export const hostileText: string = `${Object.values(attacks).join('')}\n${forged}\r${forged}`;

/** Bytes that are no UTF-8: C1 as a terminal of one byte a character takes them. */
export const hostileBytes: Uint8Array = Buffer.concat([
  Buffer.from(Object.values(attacks).join(' ')),
  Buffer.from([0x9b, 0x33, 0x31, 0x6d, 0x9d, 0x35, 0x32, 0x3b, 0x9c, 0x90, 0xff]),
]);

const acting =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

/** What in a text would act on a terminal or reorder what it shows; undefined where nothing does. */
export function actsOnTerminal(text: string): string | undefined {
  const found = acting.exec(text);
  return found === null
    ? undefined
    : `U+${found[0].charCodeAt(0).toString(16).padStart(4, '0')} in ${JSON.stringify(text.slice(Math.max(0, found.index - 60), found.index + 60))}`;
}

/** Fields that decide what is shown, or that the CLI checks: the rest of an answer is whatever the other side says. */
const structural = new Set(['status', 'mode', 'base64', 'code', 'type']);

/** The value with every string in it replaced by `text`, but for those that decide its shape. */
export function poisoned<T>(value: T, text: string = hostileText, name = ''): T {
  if (typeof value === 'string') return (structural.has(name) ? value : text) as T;
  if (Array.isArray(value)) return value.map((item) => poisoned(item, text)) as T;
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, poisoned(item, text, key)]),
  ) as T;
}
