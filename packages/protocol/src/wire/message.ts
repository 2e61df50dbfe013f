import { Packr } from 'msgpackr/index-no-eval';
import { broken } from './decode.ts';
import { type ErrorDetails, RemoteError, type WireError } from './errors.ts';
import { defaultWireLimits, frameHeaderBytes, type WireLimits } from './limits.ts';
import { forbiddenKeys, prescan } from './prescan.ts';

/**
 * Control values as msgpack: null, booleans, numbers, strings, Uint8Array, arrays and plain objects, nothing else. What
 * is undefined in an object is left out. The packer's record, class and extension paths are off, and no input reaches it
 * before `prescan` has held.
 */
const packr = new Packr({
  useRecords: false,
  moreTypes: false,
  structuredClone: false,
  mapsAsObjects: true,
  int64AsType: 'number',
  copyBuffers: false,
  variableMapSize: true,
});

/** Largest encoded value that a MESSAGE can carry. */
export const maxMessageBytes = defaultWireLimits.maxFrameBytes - frameHeaderBytes;

/**
 * Throws `too_large` when the value is over `maxBytes` or has more values than a message may, and `internal` for what
 * cannot travel (functions, bigints, class instances, nesting or keys that the peer would refuse): a defect of the caller.
 */
export function encodeMessage(
  value: unknown,
  limits: WireLimits = defaultWireLimits,
  maxBytes: number = limits.maxFrameBytes - frameHeaderBytes,
): Uint8Array {
  const bytes = packr.pack(new Plain(limits).copy(value, 0));
  if (bytes.byteLength > maxBytes) {
    const facts = { field: 'message_bytes', value: bytes.byteLength, limit: maxBytes };
    throw new RemoteError('too_large', `a message of ${bytes.byteLength} bytes is over ${maxBytes}`, {
      facts,
    });
  }
  return bytes;
}

/** Throws `protocol_error`. Binary values are views into `bytes`. What it gives is plain and small; a schema judges it next. */
export function decodeMessage(bytes: Uint8Array, limits: WireLimits = defaultWireLimits): unknown {
  prescan(bytes, limits);
  return decodeScanned(bytes);
}

/** For bytes on which `prescan` has held already. */
export function decodeScanned(bytes: Uint8Array): unknown {
  try {
    // As a plain Uint8Array: from a Buffer the packer would make its binary values Buffers.
    return packr.unpack(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch (error) {
    throw new RemoteError('protocol_error', 'a message could not be decoded', {}, error);
  }
}

/** Params and verb of an OPEN. Throws as `encodeMessage`. */
export function encodeOpen(verb: string, params: unknown, limits: WireLimits): Uint8Array {
  return encodeMessage({ verb, params }, limits, limits.maxOpenBytes);
}

/** Throws `protocol_error`. Keys that a newer peer may add are ignored. */
export function decodeOpen(payload: Uint8Array, limits: WireLimits): { verb: string; params: unknown } {
  const value = decodeMessage(payload, limits);
  if (!isPlainObject(value)) throw broken('open', typeof value, 'OPEN carries an object');
  const { verb, params } = value;
  if (typeof verb !== 'string' || verb.length === 0 || verb.length > maxVerbLength) {
    throw broken(
      'verb',
      typeof verb === 'string' ? verb.length : typeof verb,
      `a verb has 1 to ${maxVerbLength} characters`,
    );
  }
  return { verb, params };
}

const maxVerbLength = 64;

/** An error for RESET and GOAWAY, shortened until it fits `maxErrorBytes`; never throws. */
export function encodeError(error: RemoteError, limits: WireLimits): Uint8Array {
  const wire = error.toWire();
  for (const candidate of [wire, shortened(wire)]) {
    try {
      return encodeMessage(candidate, limits, limits.maxErrorBytes);
    } catch {
      // The next candidate is smaller and plainer.
    }
  }
  return encodeMessage({ code: wire.code, message: wire.code, retryable: wire.retryable }, limits);
}

/** Throws `protocol_error` when the payload is not a message; what is odd inside it becomes a plain error. */
export function decodeError(payload: Uint8Array, limits: WireLimits): RemoteError {
  return RemoteError.fromWire(decodeMessage(payload, limits));
}

function shortened(wire: WireError): WireError {
  const cut = (text: string): string => (text.length > 2000 ? `${text.slice(0, 2000)} …` : text);
  const facts: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(wire.facts ?? {}).slice(0, 16)) {
    if (typeof value === 'number' || typeof value === 'boolean') facts[name] = value;
    else facts[name] = (typeof value === 'string' ? value : value.join(', ')).slice(0, 200);
  }
  const details: ErrorDetails = { ...wire, facts };
  if (details.hint !== undefined) details.hint = cut(details.hint);
  return { ...details, code: wire.code, message: cut(wire.message), retryable: wire.retryable };
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Copies a value into what the peer's pre-scan accepts, or says why it cannot: better a defect here than a session lost there. */
class Plain {
  readonly #limits: WireLimits;
  #items = 0;

  constructor(limits: WireLimits) {
    this.#limits = limits;
  }

  copy(value: unknown, depth: number): unknown {
    this.#count();
    switch (typeof value) {
      case 'boolean':
      case 'number':
        return value;
      case 'string':
        return value.toWellFormed();
      case 'object':
        if (value === null) return null;
        if (value instanceof Uint8Array) return value;
        if (Array.isArray(value)) return this.#array(value, depth + 1);
        if (isPlainObject(value)) return this.#object(value, depth + 1);
        throw cannotTravel('an instance of a class');
      default:
        throw cannotTravel(`a ${typeof value}`);
    }
  }

  #array(values: readonly unknown[], depth: number): unknown[] {
    this.#nest(depth);
    return values.map((value) => this.copy(value === undefined ? null : value, depth));
  }

  #object(source: Record<string, unknown>, depth: number): Record<string, unknown> {
    this.#nest(depth);
    const target: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(source)) {
      if (value === undefined) continue;
      const key = name.toWellFormed();
      if (forbiddenKeys.has(key) || Object.hasOwn(target, key))
        throw cannotTravel(`the key ${key.slice(0, 64)}`);
      this.#count();
      target[key] = this.copy(value, depth);
    }
    return target;
  }

  #nest(depth: number): void {
    if (depth > this.#limits.maxMessageDepth) throw cannotTravel(`nesting of ${depth}`);
  }

  #count(): void {
    if (++this.#items > this.#limits.maxMessageItems) {
      const facts = { field: 'message_items', value: this.#items, limit: this.#limits.maxMessageItems };
      throw new RemoteError('too_large', `a message has more than ${this.#limits.maxMessageItems} values`, {
        facts,
      });
    }
  }
}

function cannotTravel(what: string): RemoteError {
  return new RemoteError('internal', `${what} cannot travel in a message`);
}
