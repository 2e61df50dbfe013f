import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { modelStreams, World } from './support/world.ts';

/** What happens to the connection, and when. */
const fault = fc.record({
  afterMs: fc.integer({ min: 0, max: 400 }),
  kind: fc.constantFrom('cut', 'cut', 'replace', 'blackhole', 'agent_ends', 'controller_ends'),
  tellAgentMs: fc.integer({ min: 0, max: 200 }),
  tellControllerMs: fc.integer({ min: 0, max: 200 }),
});
const asked = fc.record({
  afterMs: fc.integer({ min: 0, max: 1500 }),
  n: fc.nat(1000),
  bodyBytes: fc.constantFrom(0, 0, 1, 5000, 20_000),
});

const scenario = fc.record({
  seed: fc.integer(),
  streamBytes: fc.integer({ min: 0, max: 80_000 }),
  readers: fc.array(fc.constantFrom(0, 5, 60, 200), { minLength: 1, maxLength: 4 }),
  faults: fc.array(fault, { maxLength: 8 }),
  calls: fc.array(asked, { maxLength: 12 }),
});

describe('model: two sessions over a link that breaks', () => {
  test('bytes are exact, credit is conserved, every call ends once, nothing is left', async () => {
    let compared = 0;
    let replaced = 0;
    let broken = 0;
    await fc.assert(
      fc.asyncProperty(scenario, async ({ seed, streamBytes, readers, faults, calls }) => {
        const world = new World(seed, streamBytes);
        const { clock } = world;
        world.dial();

        const reads = readers.map((pauseMs, index) => {
          const stream = modelStreams[index % modelStreams.length] ?? 1;
          return { stream, bytes: world.readStream(stream, pauseMs) };
        });
        const results: { n: number; bodyBytes: number; answer: number | string }[] = [];
        let asking = 0;
        for (const { afterMs, n, bodyBytes } of calls) {
          asking++;
          clock.setTimer(afterMs, () => {
            void world.ask(n, bodyBytes).then((answer) => {
              asking--;
              results.push({ n, bodyBytes, answer });
            });
          });
        }
        let at = 0;
        for (const { afterMs, kind, tellAgentMs, tellControllerMs } of faults) {
          at += afterMs;
          clock.setTimer(at, () => {
            const connection = world.current;
            if (!connection) return;
            if (kind === 'cut') connection.link.cut(tellAgentMs, tellControllerMs);
            else if (kind === 'replace') world.dial();
            else if (kind === 'blackhole') connection.link.blackhole();
            else if (kind === 'agent_ends') connection.agent.end();
            else connection.controller.end();
          });
        }
        // Looks in between whenever nothing happens to be under way.
        let looking = true;
        const look = (): void => {
          if (!looking) return;
          compared += world.checkCredit();
          clock.setTimer(3, look);
        };
        look();

        let reading = reads.length;
        for (const { stream, bytes } of reads) {
          void bytes.then((got) => {
            reading--;
            if (Buffer.compare(got, world.expected(stream)) !== 0)
              world.violations.push(`stream ${stream} differs`);
          });
        }
        await clock.until(
          () => reading === 0 && asking === 0 && clock.monotonic() > 1000 + at,
          600_000,
          () => `${reading} reads and ${asking} calls have not ended`,
        );
        looking = false;

        for (const { n, bodyBytes, answer } of results) {
          const right = bodyBytes === 0 ? n + 1 : n + bodyBytes;
          const failures = ['connection_reset', 'peer_silent', 'session_replaced', 'shutting_down'];
          if (answer !== right && !failures.includes(String(answer))) {
            world.violations.push(`call ${n} of ${bodyBytes}: ${answer}`);
          } else if (answer !== right) broken++;
        }
        if (world.connections.length > 1) replaced++;

        // A quiet end: channels that were read in part must have exactly the credit that is left.
        await clock.until(
          () => world.current?.agent.ended === undefined && world.current?.link.idle === true,
          60_000,
        );
        const last = world.current;
        if (last) {
          const held = [0, 1, 4, 7].map((take) => ({
            take,
            channel: world.open(last.controller, 'hold', { n: 8 }),
          }));
          await clock.advance(2000);
          for (const { take, channel } of held)
            for (let item = 0; item < take; item++) await channel.receive();
          await clock.until(() => last.link.idle, 10_000);
          expect(world.checkCredit()).toBeGreaterThanOrEqual(2 * held.length);
        }

        world.stop();
        await clock.advance(1000);
        expect(world.violations).toEqual([]);
        expect(world.serving).toBe(0);
        expect(clock.pending).toBe(0);
        for (const { agent, controller } of world.connections) {
          expect([agent.openChannels, controller.openChannels]).toEqual([0, 0]);
        }
      }),
      { numRuns: 250 },
    );
    // The scenarios did meet what they are about.
    expect(compared).toBeGreaterThan(1000);
    expect(replaced).toBeGreaterThan(20);
    expect(broken).toBeGreaterThan(10);
  }, 120_000);
});
