/** True where the numbers are to be the real ones: `npm run test:full`. */
export const fullSize = process.env.CR_FULL === '1';

/** The number of a test: the small one keeps the mechanism and runs everywhere, the full one is what the row says. */
export function sized<T>(size: { readonly ci: T; readonly full: T }): T {
  return fullSize ? size.full : size.ci;
}
