import { type ExecSpec, execSpec, maxSpecBytes } from '@codex-remote/protocol/schema';
import { type Channel, RecordParser, RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { Spool } from '../store/spool.ts';
import type { ExecStore, StartRequest } from '../store/store.ts';
import { parseOrRefuse } from './parse.ts';

/**
 * Takes the body of `exec.start`: records of the streams spec, script, stdin, in this order. Throws `protocol_error` for
 * another body, `usage` for a spec that cannot be meant, `too_large`, `disk_low`; nothing of it is kept then.
 */
export async function receiveStart(
  channel: Channel,
  execId: string,
  store: ExecStore,
): Promise<StartRequest> {
  const body = new StartBody(store);
  try {
    const parser = new RecordParser({ split: true });
    for await (const item of channel) {
      if (item.kind !== 'data') throw new RemoteError('protocol_error', 'the body of exec.start is DATA');
      for (const record of parser.push(item.bytes)) {
        if (record.kind !== 'data')
          throw new RemoteError('protocol_error', 'the body of exec.start is data records');
        await body.take(record.stream, record.offset, record.bytes);
      }
    }
    if (!parser.atBoundary) throw new RemoteError('stream_cut', 'the body of exec.start was cut');
    return await body.finish(execId);
  } catch (error) {
    await body.discard();
    throw error;
  }
}

class StartBody {
  readonly #store: ExecStore;
  #spec: Uint8Array[] = [];
  #specBytes = 0;
  #stream: number = streamId.spec;
  #script: Spool | undefined;
  #stdin: Spool | undefined;

  constructor(store: ExecStore) {
    this.#store = store;
  }

  async take(stream: number, offset: number, bytes: Uint8Array): Promise<void> {
    if (order(stream) < order(this.#stream)) {
      throw new RemoteError('protocol_error', 'the streams of exec.start are out of order');
    }
    this.#stream = stream;
    if (stream === streamId.spec) return this.#takeSpec(offset, bytes);
    const spool = await (stream === streamId.script ? this.#scriptSpool() : this.#stdinSpool());
    if (offset !== spool.bytes) throw new RemoteError('protocol_error', 'a stream of exec.start has a gap');
    await spool.write(bytes);
  }

  async finish(execId: string): Promise<StartRequest> {
    const spec = parseSpec(Buffer.concat(this.#spec));
    if (spec.exec_id !== execId) throw new RemoteError('protocol_error', 'exec.start names two exec ids');
    // An empty script or stdin has no record.
    if (spec.command.kind === 'script') await this.#scriptSpool();
    if (spec.stdin) await this.#stdinSpool();
    if ((spec.command.kind !== 'script' && this.#script) || (!spec.stdin && this.#stdin)) {
      throw new RemoteError('protocol_error', 'exec.start has a stream that its spec does not announce');
    }
    const script = await this.#script?.finish();
    const stdin = await this.#stdin?.finish();
    return { spec, ...(script && { script }), ...(stdin && { stdin }) };
  }

  async discard(): Promise<void> {
    await Promise.allSettled([this.#script?.discard(), this.#stdin?.discard()]);
  }

  #takeSpec(offset: number, bytes: Uint8Array): void {
    if (offset !== this.#specBytes)
      throw new RemoteError('protocol_error', 'the spec of exec.start has a gap');
    this.#specBytes += bytes.byteLength;
    if (this.#specBytes > maxSpecBytes)
      throw new RemoteError('too_large', `a spec is over ${maxSpecBytes} bytes`);
    // The bytes are a view that is good for this call only.
    this.#spec.push(bytes.slice());
  }

  async #scriptSpool(): Promise<Spool> {
    this.#script ??= await this.#store.spool();
    return this.#script;
  }

  async #stdinSpool(): Promise<Spool> {
    this.#stdin ??= await this.#store.spool();
    return this.#stdin;
  }
}

const bodyOrder: readonly number[] = [streamId.spec, streamId.script, streamId.stdin];

function order(stream: number): number {
  const at = bodyOrder.indexOf(stream);
  if (at < 0) throw new RemoteError('protocol_error', `exec.start has no stream ${stream}`);
  return at;
}

function parseSpec(bytes: Uint8Array): ExecSpec {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new RemoteError('protocol_error', 'the spec of exec.start is not JSON', {}, error);
  }
  return parseOrRefuse(execSpec, value, 'the spec of exec.start');
}
