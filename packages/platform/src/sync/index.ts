/**
 * Two trees that are made alike over a wire: what both sides say, as source or as target, whichever of them is the machine.
 * Knows no channel and no HTTP: bytes go out through a function and come in as pieces. An entry of its own: nothing that must
 * be quick loads it.
 */
export { chunksInItem, minDeltaBytes } from './delta.ts';
export * from './item-reader.ts';
export * from './item-writer.ts';
export * from './report.ts';
export * from './rules.ts';
export * from './source.ts';
export * from './target.ts';
