import type { Algorithms, CipherAlgorithm, KexAlgorithm, MacAlgorithm, ServerHostKeyAlgorithm } from 'ssh2';
import type { HostKeyPolicy } from './host-key-policy.ts';
import type { ResolvedHost } from './resolve.ts';

// What ssh2 can do, in the order that is fastest there: GCM runs in OpenSSL, ChaCha20 in JavaScript.
const kex = [
  'curve25519-sha256@libssh.org',
  'curve25519-sha256',
  'ecdh-sha2-nistp256',
  'ecdh-sha2-nistp384',
  'ecdh-sha2-nistp521',
  'diffie-hellman-group-exchange-sha256',
  'diffie-hellman-group14-sha256',
  'diffie-hellman-group15-sha512',
  'diffie-hellman-group16-sha512',
  'diffie-hellman-group17-sha512',
  'diffie-hellman-group18-sha512',
  'diffie-hellman-group-exchange-sha1',
  'diffie-hellman-group14-sha1',
  'diffie-hellman-group1-sha1',
] as const satisfies readonly KexAlgorithm[];
const ciphers = [
  'aes128-gcm@openssh.com',
  'aes256-gcm@openssh.com',
  'aes128-ctr',
  'aes192-ctr',
  'aes256-ctr',
  'chacha20-poly1305@openssh.com',
  'aes256-cbc',
  'aes192-cbc',
  'aes128-cbc',
] as const satisfies readonly CipherAlgorithm[];
const macs = [
  'hmac-sha2-256-etm@openssh.com',
  'hmac-sha2-512-etm@openssh.com',
  'hmac-sha1-etm@openssh.com',
  'hmac-sha2-256',
  'hmac-sha2-512',
  'hmac-sha1',
] as const satisfies readonly MacAlgorithm[];
const hostKeys = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
  'ssh-rsa',
] as const satisfies readonly ServerHostKeyAlgorithm[];

/** What the user's configuration allows and ssh2 can do; host keys known for the host first. Undefined when nothing is left of a list. */
export function offeredAlgorithms(host: ResolvedHost, policy: HostKeyPolicy): Algorithms | undefined {
  const allowed = host.algorithms;
  const offer = {
    kex: kex.filter((name) => allowed.kex.includes(name)),
    cipher: ciphers.filter((name) => allowed.ciphers.includes(name)),
    hmac: macs.filter((name) => allowed.macs.includes(name)),
    serverHostKey: inOrder(policy.order(allowed.hostKey)),
  };
  return Object.values(offer).some((list) => list.length === 0) ? undefined : offer;
}

function inOrder(names: readonly string[]): ServerHostKeyAlgorithm[] {
  return names.flatMap((name) => hostKeys.filter((known) => known === name));
}
