import { failpoint } from '@codex-remote/platform';
import { agentService, machineName, machinePolicy } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { Low } from 'lowdb';
import { z } from 'zod';
import { DurableJson } from './durable-json.ts';
import { unknownMachine } from './nearest.ts';
import type { MachinePatch, MachineRecord, Registry } from './registry.ts';

const enrolled = z.object({
  agent_key: z.string(),
  host_id: z.string(),
  connection: z.enum(['local', 'tunnel', 'bridge', 'direct']),
  service: agentService.optional(),
  protocol_floor: z.number().int().positive().optional(),
});
const placement = {
  home: z.string(),
  run_dir: z.string(),
  base: z.string(),
  node: z.string(),
  bundle: z.string(),
};
const invite = z.object({
  id: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  expires_at: z.iso.datetime(),
  used_by: z.string().optional(),
  used_at: z.string().optional(),
  revoked_at: z.string().optional(),
});
const record = z.object({
  name: machineName,
  ssh: z.string().optional(),
  agent_home: z.string().optional(),
  added_at: z.string(),
  ssh_memory: z.object({
    auth_sock: z.string().optional(),
    config_path: z.string().optional(),
    transport: z.enum(['ssh2', 'system']).optional(),
  }),
  installation: z.union([enrolled.extend(placement), enrolled]).optional(),
  ssh_ok: z.boolean().optional(),
  ssh_checked_at: z.string().optional(),
  last_seen_at: z.string().optional(),
  agent_version: z.string().optional(),
  down_at: z.string().optional(),
  invites: z.array(invite).readonly().optional(),
  policy: machinePolicy.optional(),
});
const document = z.object({ version: z.literal(1), machines: z.array(record) });
type Document = z.infer<typeof document>;

/** The embedded registry: one JSON file, written by this process alone, one write at a time. */
export class LowdbRegistry implements Registry {
  readonly #db: Low<Document>;
  #writing: Promise<void> = Promise.resolve();

  private constructor(db: Low<Document>) {
    this.#db = db;
  }

  static async open(path: string): Promise<LowdbRegistry> {
    const file = new DurableJson(path, document, {
      name: 'registry',
      before: () => failpoint('controller.registry.before'),
      after: () => failpoint('controller.registry.after'),
      lost: 'add the machines again',
    });
    const db = new Low<Document>(file, { version: 1, machines: [] });
    await db.read();
    return new LowdbRegistry(db);
  }

  list(): readonly MachineRecord[] {
    return this.#db.data.machines;
  }

  get(name: string): MachineRecord | undefined {
    return this.#db.data.machines.find((machine) => machine.name === name);
  }

  async add(machine: MachineRecord): Promise<void> {
    if (this.get(machine.name)) {
      throw new RemoteError('machine_exists', `the machine ${machine.name} exists`, {
        machine: machine.name,
        hint: 'choose another name, or `codex-remote machine remove` it first',
      });
    }
    this.#db.data.machines.push(machine);
    await this.#save();
  }

  async update(name: string, change: (machine: MachineRecord) => void): Promise<void> {
    change(this.#must(name));
    await this.#save();
  }

  async commit(name: string, change: (record: Readonly<MachineRecord>) => MachinePatch): Promise<void> {
    await this.#inTurn(async () => {
      const machine = this.#must(name);
      const patch = change(machine);
      const machines = this.#db.data.machines.map((other) =>
        other === machine ? ({ ...machine, ...patch } as MachineRecord) : other,
      );
      await this.#db.adapter.write({ ...this.#db.data, machines });
      Object.assign(machine, patch);
    });
  }

  async remove(name: string): Promise<void> {
    const machine = this.#must(name);
    this.#db.data.machines = this.#db.data.machines.filter((other) => other !== machine);
    await this.#save();
  }

  #must(name: string): MachineRecord {
    const machine = this.get(name);
    if (!machine)
      throw unknownMachine(
        name,
        this.list().map((other) => other.name),
      );
    return machine;
  }

  #save(): Promise<void> {
    return this.#inTurn(() => this.#db.write());
  }

  /** lowdb's adapter is given one document at a time. */
  #inTurn(write: () => Promise<void>): Promise<void> {
    const written = this.#writing.then(write);
    this.#writing = written.catch(() => undefined);
    return written;
  }
}
