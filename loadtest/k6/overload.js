// More than memory allows: the storm against a relay with little room for bodies. It must refuse with
// 429 and Retry-After, and accept every batch in the end.
import { Batches, METADATA } from './lib/events.js';
import { closedLoop, refusalsAreFine } from './lib/scenario.js';
import { post } from './lib/webhook.js';

export { handleSummary } from './lib/scenario.js';

export const options = closedLoop(32, { refused_429: ['count>0'] });
refusalsAreFine();

const batches = new Batches(METADATA, 400);

export default function overload() {
  post(batches.next(), 400);
}
