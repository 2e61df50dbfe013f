import { Cli } from '../src/lab/index.ts';
import { agentPid, residentMb } from './processes.ts';

/** A fresh agent that has served one check. */
export async function agentIdleMemory(): Promise<unknown> {
  const cli = await Cli.open();
  try {
    await cli.json(['machine', 'up', 'local']);
    await cli.json(['machine', 'check', 'local']);
    return { resident_mb: await residentMb(await agentPid(cli)), goal: '<= 75' };
  } finally {
    await cli.close();
  }
}
