// An API server that repeats everything: each batch is posted three times, the same bytes, at once.
// Afterwards exactly two thirds of what was received must be duplicates.
import { Batches, METADATA } from './lib/events.js';
import { closedLoop } from './lib/scenario.js';
import { post } from './lib/webhook.js';

export { handleSummary } from './lib/scenario.js';

export const options = closedLoop(8);

const batches = new Batches(METADATA, 400);

export default function retryStorm() {
  post(batches.next(), 400, { times: 3 });
}
