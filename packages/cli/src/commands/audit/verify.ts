import { oneLine } from '@codex-remote/client';
import { RemoteError } from '@codex-remote/protocol/wire';
import { command } from '../../table/command.ts';

export const auditVerify = command({
  name: 'audit verify',
  summary: 'Recompute every link of the audit log: whether it is as it was written.',
  description:
    'Keep the head elsewhere, and compare: whoever can write all files of the controller can write another log.',
  flags: {},
  examples: [['whether the log is whole', 'audit verify']],
  async run(_values, { client }) {
    const verdict = await client.verifyAudit();
    if (!verdict.ok) {
      const { file, line, problem, detail, count } = verdict;
      throw new RemoteError(
        'audit_damaged',
        `the audit log is not as it was written: ${file} line ${line}: ${detail}`,
        {
          hint: `the ${count} lines before it are linked; compare ${file} with a copy, and find out who could write there`,
          facts: { file, line, problem, count },
        },
      );
    }
    const { count, head, files, first_seq } = verdict;
    return {
      value: { ok: true, count, head, files, first_seq },
      exit: 0,
      human: () =>
        oneLine(
          `${count} entries in ${files} file${files === 1 ? '' : 's'}, all linked; head ${head.seq} ${head.hash}`,
        ),
    };
  },
});
