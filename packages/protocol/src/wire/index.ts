/**
 * The wire: errors, limits, frames, channels and sessions over whatever carries binary messages. Knows no socket, file
 * or timer of the system (the clock is passed in), and never imports zod, so that small programs can load it.
 */
export * from './address.ts';
export * from './call.ts';
export type { Channel, ChannelState } from './channel.ts';
export * from './clock.ts';
export * from './decode.ts';
export * from './encode.ts';
export * from './errors.ts';
export * from './frame.ts';
export * from './git-limit.ts';
export type { Incoming } from './inbox.ts';
export * from './limits.ts';
export * from './log-limit.ts';
export * from './message.ts';
export * from './nearest.ts';
export * from './prescan.ts';
export * from './record.ts';
export * from './repository-url.ts';
export * from './secrets.ts';
export * from './session.ts';
export * from './sync-item.ts';
export type * from './transport.ts';
