/**
 * Run by the Node that was brought: `-e <this> -- <part> <final> (<name> <sha256>)…`. Compares the hashes, makes the files
 * durable, and renames the folder to its name in the store. Where the name exists and is whole, that one stays; a damaged
 * one is replaced. One line, because it is a parameter. Status 3: it ran and refused.
 */
export const placeProgram = [
  `const fs = require('node:fs'), path = require('node:path'), { createHash } = require('node:crypto');`,
  `const [part, final, ...rest] = process.argv.slice(1);`,
  `const refuse = (why) => { process.stderr.write(why + ' '); process.exit(3); };`,
  `const sync = (name) => { const fd = fs.openSync(name, 'r'); try { fs.fsyncSync(fd); } finally { fs.closeSync(fd); } };`,
  `const hash = (name) => { const sum = createHash('sha256'), block = Buffer.alloc(1 << 20), fd = fs.openSync(name, 'r');`,
  `try { for (let n; (n = fs.readSync(fd, block)) > 0; ) sum.update(block.subarray(0, n)); } finally { fs.closeSync(fd); } return sum.digest('hex'); };`,
  `const whole = (folder) => { for (let i = 0; i < rest.length; i += 2) { const name = path.join(folder, rest[i]);`,
  `if (!fs.existsSync(name) || hash(name) !== rest[i + 1]) return false; } return true; };`,
  `if (!whole(part)) refuse('checksum');`,
  `for (let i = 0; i < rest.length; i += 2) sync(path.join(part, rest[i]));`,
  `sync(part);`,
  `for (let attempt = 0; ; attempt++) {`,
  `try { fs.renameSync(part, final); break; } catch (error) {`,
  `if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST' || attempt > 9) throw error;`,
  `if (whole(final)) { fs.rmSync(part, { recursive: true }); break; }`,
  `const bad = part + '.bad'; try { fs.renameSync(final, bad); } catch {} fs.rmSync(bad, { recursive: true, force: true }); } }`,
  `sync(path.dirname(final)); process.stdout.write('yes');`,
].join(' ');
