import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { FakeClock } from '../../../packages/protocol/test/support/fake-clock.ts';
import { Admission, originOf, proven, provenWithinMs } from '../../src/gateway/admission.ts';

const limits = { maxUnproven: 3, maxUnprovenPerAddress: 2 };

test('one address takes its places and no more; all together take theirs', () => {
  const admission = new Admission(new FakeClock(), limits);
  const admit = (address: string): boolean => admission.admit(new PassThrough(), address) !== undefined;
  expect([admit('192.0.2.1'), admit('192.0.2.1'), admit('192.0.2.1')]).toEqual([true, true, false]);
  expect([admit('192.0.2.2'), admit('192.0.2.3')]).toEqual([true, false]);
});

test('who is refused is destroyed; who is proven or gone makes room, once', async () => {
  const admission = new Admission(new FakeClock(), limits);
  const [first, second, third] = [new PassThrough(), new PassThrough(), new PassThrough()];
  admission.admit(first, 'a');
  admission.admit(second, 'a');
  admission.admit(third, 'a');
  expect([first.destroyed, second.destroyed, third.destroyed]).toEqual([false, false, true]);
  proven(first);
  proven(first);
  expect(admission.unproven).toBe(1);
  second.destroy();
  await new Promise((resolve) => second.once('close', resolve));
  expect(admission.unproven).toBe(0);
  first.destroy();
  await new Promise((resolve) => first.once('close', resolve));
  expect(admission.unproven).toBe(0);
});

test('whoever is not proven in time is destroyed, whatever it sends meanwhile; who is stays', async () => {
  const clock = new FakeClock();
  const admission = new Admission(clock, limits);
  const [known, stranger] = [new PassThrough(), new PassThrough()];
  admission.admit(known, 'a');
  admission.admit(stranger, 'a');
  await clock.advance(provenWithinMs - 1);
  proven(known);
  stranger.write('x');
  await clock.advance(1);
  expect([known.destroyed, stranger.destroyed]).toEqual([false, true]);
  expect(clock.pending).toBe(0);
});

test.each([
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
  ['2001:0db8::1', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
])('%s counts as %s', (address, origin) => {
  expect(originOf(address)).toBe(origin);
});
