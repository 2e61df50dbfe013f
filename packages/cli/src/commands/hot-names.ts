/** Names of `hotCommands`, for who must not load them. */
export const hotNames: ReadonlySet<string> = new Set([
  'machine check',
  'exec run',
  'exec start',
  'exec result',
  'exec logs',
  'exec watch',
  'exec wait',
  'exec cancel',
  'exec list',
]);
