import { flagSwitch, many, one } from './flag.ts';
import * as read from './values.ts';

/** Flags that every command takes. */
export const everyFlag = {
  json: flagSwitch('print JSON, also at a terminal'),
  human: flagSwitch('print text for people'),
  raw: flagSwitch("print the remote's bytes, nothing added"),
  brief: flagSwitch('print only the last line, with tails, at most 6 kB'),
  debug: flagSwitch('add the stack to an error'),
  help: flagSwitch('show help', { char: 'h' }),
} as const;

export const machineFlag = one(read.machine, 'NAME', 'the machine (default: $CODEX_REMOTE_MACHINE)', {
  char: 'm',
});
export const oneId = one(read.execId, 'ID', 'exec id or a unique prefix of it');
export const manyIds = many(read.execId, 'ID', 'exec id or a unique prefix of it');
export const connectWait = one(
  read.duration,
  'TIME',
  'wait for a machine that is reconnecting (default 15s)',
);
export const maxWait = one(read.duration, 'TIME', 'stop waiting after this; the job goes on');
export const tailLines = one(read.count, 'N', 'lines per tail in place of 2000 bytes, 0 for none');

/** How SSH is to be made where a command makes it. */
export const sshFlags = {
  ssh: one(
    read.nonEmpty,
    'USER@HOST[:PORT]',
    'where SSH finds it (default: the name as a Host of the ssh config)',
  ),
  'agent-home': one(read.nonEmpty, 'DIR', "the agent's home on the machine"),
} as const;

export const defaultConnectWaitMs = 15_000;
