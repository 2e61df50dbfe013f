import { createReadStream } from 'node:fs';
import type { StoreFile } from '../bootstrap/index.ts';
import { type Introduction, joinScript, type Source } from './join-script.ts';
import type { Payload } from './payload.ts';

/**
 * One file that is carried to a host: a script, and behind it all that the script needs, so that nothing is downloaded.
 * It has the token in it.
 */
export async function* bundleFile(
  introduction: Introduction,
  payload: Payload,
  token: string,
): AsyncGenerator<Buffer, void, void> {
  const files = [...payload.runtimes.map(({ packed }) => packed), ...payload.agent.files];
  yield bundleScript(introduction, payload, token, files);
  for (const file of files) yield* createReadStream(file.path, { highWaterMark: 256 * 1024 });
}

/** The script names where each file begins, and is itself before them: written until its length fits. */
function bundleScript(
  introduction: Introduction,
  payload: Payload,
  token: string,
  files: readonly StoreFile[],
): Buffer {
  for (let begin = 0; ; ) {
    const script = Buffer.from(joinScript(introduction, payload, fileSource(token, files, begin)));
    if (script.length === begin) return script;
    begin = script.length;
  }
}

function fileSource(token: string, files: readonly StoreFile[], begin: number): Source {
  let at = begin + 1;
  const places = files.map(({ name, bytes }) => {
    const place = `    ${name}) at=${at} ;;`;
    at += bytes;
    return place;
  });
  return {
    from: 'this file',
    functions: `
self=$0
take_token() {
  [ -f "$self" ] || fail usage 'this is to be run as a file' 'sh FILE'
  codex_remote_token=${token}
}
get() {
  case $1 in
${places.join('\n')}
  esac
  tail -c "+$at" "$self" | head -c "$3" >"$2"
  [ "$(wc -c <"$2")" -eq "$3" ]
}
get_raw() { fail runtime_unsupported 'there is no gzip here, which the runtime needs' 'install gzip'; }
`,
  };
}
