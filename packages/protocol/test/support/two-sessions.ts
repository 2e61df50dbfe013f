import { type Channel, Session, type SessionOptions, type WireLimits } from '../../src/wire/index.ts';
import { FakeClock } from './fake-clock.ts';
import { type PipeEnd, pipe } from './pipe.ts';

export interface TwoSessions {
  clock: FakeClock;
  agent: Session;
  controller: Session;
  agentEnd: PipeEnd;
  controllerEnd: PipeEnd;
}

/** Agent and controller over a pipe, on a fake clock. */
export function twoSessions(accept: NonNullable<SessionOptions['accept']>, limits?: WireLimits): TwoSessions {
  const clock = new FakeClock();
  const { agentEnd, controllerEnd } = pipe();
  const common = { clock, ...(limits ? { limits } : {}) };
  const agent = new Session({ ...common, transport: agentEnd, side: 'agent', accept });
  const controller = new Session({ ...common, transport: controllerEnd, side: 'controller' });
  return { clock, agent, controller, agentEnd, controllerEnd };
}

/** All DATA until the peer's END, as one. Throws on a MESSAGE. */
export async function readAll(channel: Channel): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const item of channel) {
    if (item.kind !== 'data') throw new Error('expected DATA');
    parts.push(item.bytes);
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** Bytes that tell their position. */
export function pattern(from: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = (((from + at) * 2654435761) >>> 13) & 0xff;
  return bytes;
}
