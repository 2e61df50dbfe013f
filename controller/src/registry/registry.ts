import type { AgentService, MachineView } from '@codex-remote/protocol/schema';

export type ConnectionKind = NonNullable<MachineView['connection']>;

/** How SSH last worked for this machine; the environment of the CLI that asked. */
export interface SshMemory {
  auth_sock?: string;
  config_path?: string;
  transport?: 'ssh2' | 'system';
}

/** What `machine up` left on the machine. */
export interface Installation {
  /** Ed25519 public key of the agent; its sessions are known by it alone. */
  agent_key: string;
  host_id: string;
  /** The agent's home there. */
  home: string;
  /** Where its tunnels' sockets appear. */
  run_dir: string;
  /** Base of home and store. */
  base: string;
  /** Paths in the store there. */
  node: string;
  bundle: string;
  connection: ConnectionKind;
  /** What keeps the agent running there, as it was at the last `machine up`. */
  service?: AgentService;
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
}

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
  /** Throws `unknown_machine`. */
  remove(name: string): Promise<void>;
}
