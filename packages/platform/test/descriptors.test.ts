import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

it('closes what a parent left open, so that no job gets it [row 46]', () => {
  const module = join(import.meta.dirname, '../src/descriptors.ts');
  const script = `
    import { closeInheritedDescriptors, inheritedDescriptors } from ${JSON.stringify(module)};
    const before = inheritedDescriptors();
    closeInheritedDescriptors();
    console.log(JSON.stringify([before.includes(200), inheritedDescriptors()]));
  `;
  // Node itself sees to the first sixteen.
  const node = [process.execPath, '--input-type=module-typescript', '-e', script];
  const child = spawnSync('bash', ['-c', 'exec 200</etc/passwd; exec "$@"', 'bash', ...node], {
    encoding: 'utf8',
  });
  expect(JSON.parse(child.stdout)).toEqual([true, []]);
});
