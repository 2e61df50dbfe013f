import { createHash, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Failpoint } from '@codex-remote/platform';
import { freePort } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FailpointLab } from './support/failpoint-lab.ts';

/** The controller is killed while it writes how it is reached; the same command makes it whole. */
describe('killed while it', () => {
  let lab: FailpointLab;
  let line: string[];
  beforeEach(async () => {
    lab = await FailpointLab.open();
    const listen = `127.0.0.1:${await freePort()}`;
    line = ['controller', 'start', '--listen', listen, '--public-url', `https://${listen}`];
  });
  afterEach(() => lab.close());

  test.each<[Failpoint, { key: boolean; listens: boolean }]>([
    ['controller.certificate.before', { key: false, listens: false }],
    ['controller.certificate.after', { key: true, listens: false }],
    ['controller.direct_settings.before', { key: true, listens: false }],
    ['controller.direct_settings.after', { key: true, listens: true }],
  ])(
    'learns where to listen, at %s: it does or does not, and the key that was made is kept',
    async (point, is) => {
      const pid = await lab.restartController(point);
      await lab.cli.run(line);
      await lab.controllerDied(point, pid);
      const after = await lab.cli.json(['controller', 'start']);
      expect(after.listen !== undefined).toBe(is.listens);
      const made = await readPin(lab);
      expect(made !== undefined).toBe(is.key);
      const done = await lab.cli.json(line);
      expect(done).toMatchObject({ ok: true, listen: line[3] });
      if (made !== undefined) expect(done.certificate_sha256).toBe(made);
    },
  );

  test.each<[Failpoint, boolean]>([
    ['controller.certificate.before', false],
    ['controller.certificate.after', true],
  ])('rotates its key, at %s: the one before serves on', async (point, announced) => {
    const { certificate_sha256: before } = await lab.cli.json(line);
    const pid = await lab.restartController(point);
    await lab.cli.run(['controller', 'rotate-certificate', '--overlap', '1h']);
    await lab.controllerDied(point, pid);
    const after = await lab.cli.json(['controller', 'start']);
    expect(after.certificate_sha256).toBe(before);
    expect(after.next_certificate_sha256 !== undefined).toBe(announced);
    const done = await lab.cli.json(['controller', 'rotate-certificate', '--overlap', '0']);
    expect(done.certificate_sha256).not.toBe(before);
    if (announced) expect(done.certificate_sha256).toBe(after.next_certificate_sha256);
  });
});

/** The pin of the key on disk, if there is one. */
async function readPin(lab: FailpointLab): Promise<string | undefined> {
  const text = await readFile(lab.file('config/certificate.json'), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const { current } = JSON.parse(text) as { current: { certificate: string } };
  const spki = new X509Certificate(current.certificate).publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('base64');
}
