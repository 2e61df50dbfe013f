import { closeSync, readdirSync, readFileSync } from 'node:fs';

/** O_CLOEXEC in the octal `flags` of /proc/<pid>/fdinfo, see proc_pid_fdinfo(5). */
const closeOnExec = 0o2000000;

/** Descriptors above 2 that every child of this process would inherit. Empty where there is no /proc. */
export function inheritedDescriptors(): number[] {
  return descriptors().filter((fd) => {
    try {
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
      return flags !== undefined && (Number.parseInt(flags, 8) & closeOnExec) === 0;
    } catch {
      // It was the one that read the folder.
      return false;
    }
  });
}

/**
 * Closes what a careless parent left open, which Node itself does for the first sixteen only: it would reach every job and
 * child, and keep the parent's pipes and files alive. For daemons: what they open themselves is closed on exec.
 */
export function closeInheritedDescriptors(): void {
  for (const fd of inheritedDescriptors()) closeSync(fd);
}

function descriptors(): number[] {
  try {
    return readdirSync('/proc/self/fd')
      .map(Number)
      .filter((fd) => fd > 2);
  } catch {
    return [];
  }
}
