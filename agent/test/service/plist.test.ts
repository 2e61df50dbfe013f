import { describe, expect, test } from 'vitest';
import { plistText } from '../../src/service/plist.ts';

type Plist = string | number | boolean | Plist[] | { [key: string]: Plist };

/** A property list as XML, read by the rules of plist(5): every tag closed, every key with a value, nothing else. */
function parsePlist(text: string): Plist {
  const tokens = text
    .replace(/^<\?xml version="1\.0" encoding="UTF-8"\?>\n<!DOCTYPE plist [^>]*>\n/, '')
    .replace(/<!--.*?-->/gs, '')
    .match(/<[^>]+>|[^<]+/g)
    ?.filter((token) => token.trim() !== '');
  if (!tokens) throw new Error('empty');
  const next = (): string => {
    const token = tokens.shift();
    if (token === undefined) throw new Error('cut');
    return token;
  };
  const expectTag = (wanted: string): void => {
    const token = next();
    if (token !== wanted) throw new Error(`${token} in place of ${wanted}`);
  };
  const textUntil = (end: string): string => {
    let value = '';
    for (let token = next(); token !== end; token = next()) {
      if (token.startsWith('<')) throw new Error(`${token} in text`);
      value += token;
    }
    if (/&(?!(amp|lt|gt|quot|apos);)/.test(value)) throw new Error(`a bare & in ${value}`);
    return value.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
  };
  const value = (token: string): Plist => {
    switch (token) {
      case '<string>':
        return textUntil('</string>');
      case '<integer>':
        return Number(textUntil('</integer>'));
      case '<true/>':
        return true;
      case '<false/>':
        return false;
      case '<array>': {
        const items: Plist[] = [];
        for (let item = next(); item !== '</array>'; item = next()) items.push(value(item));
        return items;
      }
      case '<dict>': {
        const entries: [string, Plist][] = [];
        for (let item = next(); item !== '</dict>'; item = next()) {
          if (item !== '<key>') throw new Error(`${item} in place of a key`);
          entries.push([textUntil('</key>'), value(next())]);
        }
        return Object.fromEntries(entries);
      }
      default:
        throw new Error(`unknown ${token}`);
    }
  };
  expectTag('<plist version="1.0">');
  const root = value(next());
  expectTag('</plist>');
  if (tokens.length > 0) throw new Error(`${tokens[0]} behind the end`);
  return root;
}

describe('the launchd agent', () => {
  test.each(['/Users/me/agent', '/Users/m & e/<odd> "home"', '/Users/ünï'])(
    'of the home %j says what to run, when again, and to leave the jobs alone',
    (home) => {
      const argv = [`${home}/node`, '--max-semi-space-size=1', `${home}/agent.mjs`] as const;
      const plist = plistText({
        machine: 'box',
        name: 'codex-remote-agent-0123456789ab',
        home,
        log: `${home}/agent.log`,
        argv: [...argv],
      });
      expect(parsePlist(plist)).toEqual({
        Label: 'codex-remote-agent-0123456789ab',
        ProgramArguments: argv,
        RunAtLoad: true,
        KeepAlive: { SuccessfulExit: false },
        ThrottleInterval: 1,
        AbandonProcessGroup: true,
        ProcessType: 'Interactive',
        LimitLoadToSessionType: ['Aqua', 'Background'],
        StandardOutPath: `${home}/agent.log`,
        StandardErrorPath: `${home}/agent.log`,
      });
    },
  );

  test('that is cut or has a stray word does not pass the same reader', () => {
    const plist = plistText({ machine: 'box', name: 'n', home: '/h', log: '/h/l', argv: ['/n'] });
    expect(() => parsePlist(plist.slice(0, -30))).toThrow();
    expect(() => parsePlist(plist.replace('<true/>', 'yes'))).toThrow();
  });
});
