// The commands of an agent, as bootstrap knows them, in a few lines. Its daemon dials the newest socket in its run folder,
// says one line there, and stays.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

const [command, , home] = process.argv.slice(2);
const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const alive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
const pidOf = (folder) =>
  existsSync(join(folder, 'pid')) ? Number(readFileSync(join(folder, 'pid'), 'utf8')) : 0;

const commands = {
  init() {
    const { base, machine, controller_id, controller_key } = JSON.parse(readFileSync(0, 'utf8'));
    if (machine === 'refuses')
      return answer({ ok: false, error: { code: 'state_unusable', message: 'not here', retryable: false } });
    if (machine === 'babbles') return process.stdout.write('not JSON\n');
    const folder = join(base, 'host', controller_id);
    const run = join(folder, 'run');
    mkdirSync(run, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ machine, controller_key }));
    answer({
      ok: true,
      home: folder,
      run_dir: run,
      host_id: 'host',
      boot_id: 'boot',
      agent_key: 'k'.repeat(43),
      version: '0.1.0',
    });
  },
  start() {
    const running = alive(pidOf(home) || process.pid + 1e7);
    if (!running) {
      const child = spawn(process.execPath, [process.argv[1], 'daemon', '--home', home], {
        detached: true,
        stdio: 'ignore',
      });
      writeFileSync(join(home, 'pid'), String(child.pid));
      child.unref();
    }
    answer({ ok: true, pid: pidOf(home), already: running, version: '0.1.0' });
  },
  daemon() {
    const run = join(home, 'run');
    let dialled;
    const look = () => {
      const sockets = readdirSync(run).filter((name) => /^t-.*\.sock$/.test(name));
      const newest = sockets
        .map((name) => ({ name, at: statSync(join(run, name)).ctimeMs }))
        .sort((a, b) => b.at - a.at)[0];
      if (newest === undefined || newest.name === dialled) return;
      dialled = newest.name;
      const again = () => {
        // Bound and not yet listening.
        dialled = undefined;
        setTimeout(look, 10);
      };
      connect(join(run, newest.name)).on('error', again).write('hello from the agent\n');
    };
    watch(run, look);
    look();
  },
  stop() {
    const pid = pidOf(home);
    const stopped = pid > 0 && alive(pid);
    if (stopped) process.kill(pid);
    rmSync(join(home, 'pid'), { force: true });
    answer({ ok: true, stopped, running: existsSync(join(home, 'busy')) ? ['exec-1'] : [] });
  },
  purge() {
    if (existsSync(join(home, 'busy')))
      return answer({
        ok: false,
        error: { code: 'conflict', message: 'conflict: execs run', retryable: false },
      });
    rmSync(home, { recursive: true });
    answer({ ok: true, purged: true });
  },
  bridge() {
    const path = join(home, 'run', `t-${randomBytes(8).toString('hex')}.sock`);
    const server = createServer((socket) => {
      server.close();
      process.stdin.pipe(socket).pipe(process.stdout);
      socket.on('error', () => undefined).on('close', () => process.exit(0));
    }).listen(path);
    process.stdin.on('end', () => process.exit(0)).resume();
  },
};
commands[command]();
