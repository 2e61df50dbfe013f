import type { Row } from './rows.ts';

/**
 * Hostile input, groups D (frames and peers) and E (inputs, files, shell): the second part of the matrix, numbered on from
 * rows.ts. Its table is in docs/security.md.
 */
export const hostileRows: readonly Row[] = [
  {
    row: 67,
    fault: 'frame over the limit',
    sees: '`frame_too_big` (close code 1009) ends that session; others go on',
  },
  {
    row: 68,
    fault: 'flood of tiny or empty fragments',
    sees: 'the connection is dropped: nothing of ours fragments',
  },
  {
    row: 69,
    fault: 'decompression bomb',
    sees: 'no compression is ever agreed on, by either side; a compressed frame ends the connection',
  },
  {
    row: 70,
    fault: 'msgpack array, map, string or binary that claims more than there is',
    sees: '`protocol_error`, without memory for the claim',
  },
  {
    row: 71,
    fault: 'msgpack a million levels deep',
    sees: '`protocol_error`, in bounded time and stack',
  },
  {
    row: 72,
    fault: 'msgpack extension types (record, RegExp, Error, Set, pointer, BigInt, time)',
    sees: '`protocol_error`; none is decoded',
  },
  {
    row: 73,
    fault: '`__proto__`, `constructor`, `prototype`, keys twice',
    sees: '`protocol_error`, or `usage` for a request; no prototype changes',
  },
  {
    row: 74,
    fault: 'cut and random frames',
    sees: 'a value or a typed error, bounded work; `npm run fuzz` tries a million',
  },
  {
    row: 75,
    fault: 'connection that has not proved itself sends data, or nothing',
    sees: 'dropped at 4 KiB or after 10 s',
  },
  {
    row: 76,
    fault: 'connection that goes on after a refused upgrade',
    sees: 'the socket is destroyed after any answer but 101',
  },
  {
    row: 77,
    fault: 'join token used again, or twice at once',
    sees: 'one machine is in, also over kill -9; the others are `unauthorized`',
  },
  {
    row: 78,
    fault: 'answer to a join lost; the same agent comes again',
    sees: 'it is in, with the token or without it',
  },
  {
    row: 79,
    fault: 'join token expired, revoked, or for another machine',
    sees: '`unauthorized` with one and the same message; the audit log says which',
  },
  {
    row: 80,
    fault: 'wrong certificate with the right name; resumed TLS session',
    sees: 'refused before a byte of ours: the pin is compared on every connection, and none is resumed',
  },
  {
    row: 81,
    fault: "a machine's key is revoked during its session",
    sees: 'the session ends at once',
  },
  {
    row: 82,
    fault: 'signature replayed, relayed, or used in the other role',
    sees: '`unauthorized`',
  },
  {
    row: 83,
    fault: 'protocol downgrade',
    sees: '`agent_outdated`: neither side goes below its own range, nor the agent below what its controller has once shown',
  },
  {
    row: 84,
    fault: "machine reports, answers or logs another machine's exec",
    sees: 'it becomes an exec of the machine that says it, or `protocol_error`; the exec of the other is untouched',
  },
  {
    row: 85,
    fault: 'agent makes requests, or calls a verb by the name of a prototype',
    sees: '`unknown_verb`',
  },
  {
    row: 86,
    fault: 'a controller that answers the upgrade with a redirect or no WebSocket',
    sees: 'nothing is followed, nothing is sent',
  },
  {
    row: 87,
    fault: 'agent sends paths, hosts, newlines or 10 kB as names',
    sees: 'refused, or kept and shown as text; never opened, dialled or run',
  },
  {
    row: 88,
    fault: 'ref or branch that begins with `-`',
    sees: '`usage` or `unknown_ref`; git reads it from its stdin or after `--end-of-options`, never as an option',
  },
  {
    row: 89,
    fault: '`ext::`, `file::`, `-oProxyCommand` as a repository',
    sees: 'refused with the reason; git has `protocol.allow=never` and the schemes of the call alone',
  },
  {
    row: 90,
    fault: 'hostile repository config on the way back',
    sees: 'the same files and patch as without it, and nothing of it runs, there or here; `.git` under any of its names is `refused`',
  },
  {
    row: 91,
    fault: 'names with quotes, `$( )`, newline, NUL, `..`, 300 characters, look-alikes',
    sees: '`usage` that names the rule; nothing was sent or made',
  },
  {
    row: 92,
    fault: 'arguments that a shell would take apart',
    sees: 'they arrive byte for byte: `--` is an array everywhere, also over SSH',
  },
  {
    row: 93,
    fault: 'odd environment names and values, and too much of them',
    sees: 'names are checked (`usage`), values arrive as they are; over the limit of the system `args_too_long`, and nothing was accepted',
  },
  {
    row: 94,
    fault: 'traversal, links, devices, collisions in a sync',
    sees: 'a list with such a name is `sync_path` before anything of it is written; a link that leads out, a device, a name that is another one there is refused by name, and the rest goes on; nothing outside of the tree changes, also when folders are swapped for links meanwhile',
  },
  {
    row: 95,
    fault: 'sync bomb',
    sees: '`sync_limit` for names and folders without end, in the memory of one name a folder; `disk_low` for content that does not fit',
  },
  {
    row: 96,
    fault: 'pull that brings files which run by themselves',
    sees: 'each is listed with what obeys it and held back, unless `--allow-autorun`; all else is written',
  },
  {
    row: 97,
    fault: 'control sequences, C1, bidi, line separators in output, names, errors',
    sees: 'at a terminal they are removed or shown as text, on stdout and stderr; JSON has nothing but escapes; `--raw` is the bytes',
  },
  {
    row: 98,
    fault: 'HTML or JavaScript in any field',
    sees: 'not applicable: there is no dashboard yet',
    argued: 'no HTML is made anywhere',
  },
  {
    row: 99,
    fault: 'DNS rebinding, cross-site requests and WebSockets',
    sees: 'refused: exact `Host`, no `Origin`, always a token on TCP, no cookies, no CORS',
  },
  {
    row: 100,
    fault: 'another local user connects or reads; umask 000',
    sees: 'EACCES: folders 0700, files 0600, whatever the umask; a home in a folder that others may change is `state_unusable`',
  },
  {
    row: 101,
    fault: 'socket left behind, or a symlink in its place',
    sees: 'what is dead is replaced; what a link points to is left alone',
  },
  {
    row: 102,
    fault: 'secret in `--env`, `--env-file`, stdin, a token, a key',
    sees: 'nowhere but in its 0600 file, the job and what the job itself prints',
  },
  {
    row: 103,
    fault: 'secret in another form: split, base64, escaped',
    sees: 'masked only in our own fields, as it is; logs are never altered',
  },
  {
    row: 104,
    fault: 'SSH host key unknown, changed, revoked, changed at a rekey',
    sees: '`host_key_unknown`, `host_key_changed` with fingerprints; nothing is stored before the host is proven',
  },
  {
    row: 105,
    fault: 'SSH command ends without a status; rc files that talk',
    sees: '`bootstrap_failed` with the stage; rc noise is passed over',
  },
  {
    row: 106,
    fault: 'upload cut or changed; two `machine up` at once',
    sees: 'nothing is placed; the agent that runs goes on; two at once end with one agent',
  },
  {
    row: 107,
    fault: 'runtime of another architecture or libc; no permission to execute',
    sees: '`runtime_unsupported`, or the stage that failed with what the machine said',
  },
];
