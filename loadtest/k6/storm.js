// As fast as it accepts: 32 users, each posts its next 400 events once the last are accepted.
import { Batches, METADATA } from './lib/events.js';
import { closedLoop } from './lib/scenario.js';
import { post } from './lib/webhook.js';

export { handleSummary } from './lib/scenario.js';

export const options = closedLoop(32);

const batches = new Batches(METADATA, 400);

export default function storm() {
  post(batches.next(), 400);
}
