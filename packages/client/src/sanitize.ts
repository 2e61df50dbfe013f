// biome-ignore-all lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
// ECMA-48 control sequences with either introducer, then strings (OSC, DCS, SOS, PM, APC) up to their end, then other
// escapes of two or three bytes. A string without an end reaches to the end of the line.
const escapes =
  /(?:\u001b\[|\u009b)[\u0030-\u003f]*[\u0020-\u002f]*[\u0040-\u007e]?|(?:\u001b[\]P^_X]|[\u0090\u0098\u009d-\u009f])[^\u0007\u001b\u009c\n]*(?:\u0007|\u001b\\|\u009c)?|\u001b[\u0020-\u002f]*[\u0030-\u007e]?/g;
// Every other control but tab, newline and carriage return; direction overrides and isolates; line separators.
const controls =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const suspicious =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

/** Text without terminal escapes. Removing one never makes another. */
export function withoutEscapes(text: string): string {
  return text.replace(escapes, '').replace(controls, '');
}

/** What a person at a terminal may see of remote text: nothing in it acts on the terminal or reorders what is shown. */
export function forTerminal(text: string): string {
  return suspicious.test(text) ? withoutEscapes(text) : text;
}

/** One line for a table or a message: control characters, newlines too, become spaces. */
export function oneLine(text: string): string {
  return forTerminal(text).replace(/[\r\n\t]+/g, ' ');
}

/** What a terminal would show of a line that rewrites itself: what follows the last carriage return that has text after it. */
export function foldRewrites(line: string): string {
  const end = line.replace(/\r+$/, '');
  return end.slice(end.lastIndexOf('\r') + 1);
}
