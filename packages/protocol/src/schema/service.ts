import { z } from 'zod';

/** `unknown` where the machine does not tell, or where it is known to break its word. */
export const survival = z.enum(['yes', 'no', 'unknown']);
export type Survival = z.infer<typeof survival>;

/**
 * What keeps an agent running. `systemd`: a user unit. `launchd`: a launchd agent. `detached`: a session of its own with a
 * keeper that starts it again after a crash. `bare`: a session of its own, nothing else.
 */
export const agentService = z.object({
  kind: z.enum(['systemd', 'launchd', 'detached', 'bare']),
  /**
   * Whether the agent is there again after it. A logout that it survives is survived by its jobs too, and so is a crash;
   * a reboot is survived by no job.
   */
  survives: z.object({ logout: survival, reboot: survival, crash: survival }),
  /** For people. */
  note: z.string(),
});
export type AgentService = z.infer<typeof agentService>;
