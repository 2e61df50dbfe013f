import type { AgentService, MachinePolicy, MachineView } from '@codex-remote/protocol/schema';

export type ConnectionKind = NonNullable<MachineView['connection']>;

/** How SSH last worked for this machine; the environment of the CLI that asked. */
export interface SshMemory {
  auth_sock?: string;
  config_path?: string;
  transport?: 'ssh2' | 'system';
}

/** Where `machine up` put what on the machine. */
export interface Placement {
  /** The agent's home there. */
  home: string;
  /** Where its tunnels' sockets appear. */
  run_dir: string;
  /** Base of home and store. */
  base: string;
  /** Paths in the store there. */
  node: string;
  bundle: string;
}

/** The agent of a machine. One that joined by an invitation keeps to itself where it is. */
export type Installation = {
  /** Ed25519 public key of the agent; its sessions are known by it alone. */
  agent_key: string;
  host_id: string;
  connection: ConnectionKind;
  /** The lowest protocol that is spoken to it, see ProtocolFloors. `machine up` begins anew. */
  protocol_floor?: number;
  /** What keeps the agent running there, as it was at the last `machine up`. */
  service?: AgentService;
} & (Placement | { [name in keyof Placement]?: undefined });

/** An agent that `machine up` put there: SSH leads to it. */
export type PlacedInstallation = Installation & Placement;

/** A one-time token for this machine, see enrolment/join-tokens.ts. Entries are replaced, never changed. */
export interface Invite {
  readonly id: string;
  /** Of its secret, in hex. */
  readonly sha256: string;
  readonly expires_at: string;
  /** The agent key that it let in. */
  readonly used_by?: string;
  readonly used_at?: string;
  readonly revoked_at?: string;
}

export interface MachineRecord {
  name: string;
  /** user@host[:port]; absent: the name is a Host of the ssh config, or `local`. */
  ssh?: string;
  agent_home?: string;
  added_at: string;
  ssh_memory: SshMemory;
  installation?: Installation;
  /** Last answer of SSH to this machine, for `ssh_ok`. */
  ssh_ok?: boolean;
  ssh_checked_at?: string;
  last_seen_at?: string;
  agent_version?: string;
  /** It was taken down, and not brought up since. */
  down_at?: string;
  invites?: readonly Invite[];
  /** What may be started there; absent: everything. */
  policy?: MachinePolicy;
}

/** Some fields of a record, `undefined` where one is taken away. */
export type MachinePatch = { [name in keyof MachineRecord]?: MachineRecord[name] | undefined };

/**
 * The machines that this controller knows. An interface, because several controllers will have to share it one day.
 * Every change is durable when its promise resolves.
 */
export interface Registry {
  list(): readonly MachineRecord[];
  get(name: string): MachineRecord | undefined;
  /** Throws `machine_exists`. */
  add(record: MachineRecord): Promise<void>;
  /** Throws `unknown_machine`. */
  update(name: string, change: (record: MachineRecord) => void): Promise<void>;
  /**
   * Compare and set: `change` sees the record as it is after every write before this one, and what it answers is seen by
   * nobody before it is on disk, and not at all where it cannot be written. Throws what `change` throws, `unknown_machine`.
   */
  commit(name: string, change: (record: Readonly<MachineRecord>) => MachinePatch): Promise<void>;
  /** Throws `unknown_machine`. */
  remove(name: string): Promise<void>;
}
