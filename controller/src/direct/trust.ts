import type { Logger } from '@codex-remote/platform';
import type { Capability } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { callAgent } from '../execs/agent-call.ts';
import type { MachineLink } from '../links/link.ts';
import type { Links } from '../links/links.ts';
import type { Trust } from './certificate.ts';

const capability: Capability = 'trust';
/** One write of a small file there. */
const answerMs = 10_000;

/**
 * Gives a connected agent what it is to know us by. Nothing signs it but the session: both sides of that are proven, and who
 * speaks in it is who `machine up` or the invitation named. One that did not get it is told at its next connection.
 */
export async function tellTrust(link: MachineLink, trust: Trust, clock: Clock, log: Logger): Promise<void> {
  const { live } = link;
  if (!live?.info.hello.capabilities.includes(capability)) return;
  const giveUp = new AbortController();
  const timer = clock.setTimer(answerMs, () => giveUp.abort());
  const { certificates, spki_sha256 } = trust;
  try {
    const params = { certificates: [...certificates], spki_sha256: [...spki_sha256] };
    await callAgent(live.session, 'trust.set', params, { signal: giveUp.signal });
  } catch (error) {
    const { code, message } = RemoteError.from(error);
    log.info({ machine: link.machine, code, err: message }, 'trust not told');
  } finally {
    timer.cancel();
  }
}

/** As `tellTrust`, to all that are connected. */
export async function announceTrust(links: Links, trust: Trust, clock: Clock, log: Logger): Promise<void> {
  await Promise.all(links.connected().map((link) => tellTrust(link, trust, clock, log)));
}
