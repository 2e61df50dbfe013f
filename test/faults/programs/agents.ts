import { join } from 'node:path';
import { loadOrCreateIdentity, systemClock } from '@codex-remote/platform';
import { pino } from 'pino';
import { Connector } from '../../../agent/src/connect/connector.ts';

/** Many agents in one process: `agents.ts FOLDER CONTROLLER_KEY COUNT`. Agent I dials FOLDER/I.sock until it is killed. */
const [folder = '', controllerKey = '', count = '0'] = process.argv.slice(2);
const identity = loadOrCreateIdentity(join(folder, 'agent.pem'));
for (let index = 0; index < Number(count); index++) {
  const connector = new Connector({
    self: {
      config: {
        version: 1,
        machine: `m${index}`,
        controller_id: 'c0ffee',
        controller_key: controllerKey,
        host_id: 'h',
        endpoints: [{ kind: 'unix', path: join(folder, `${index}.sock`) }],
      },
      identity,
      bootId: 'b',
      instanceId: 'i1',
      version: '0.0.0',
    },
    clock: systemClock,
    random: Math.random,
    log: pino({ level: 'silent' }),
    accept: (channel, verb) => void channel.send({ verb }).then(() => channel.end()),
  });
  void connector.run();
}
