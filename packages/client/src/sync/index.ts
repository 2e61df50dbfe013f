/** Trees that travel, through the controller's API. An entry of its own: nothing that must be quick loads it. */
export type { SyncOrder, SyncProgress, SyncSummary } from './order.ts';
export { SyncClient } from './sync-client.ts';
