// Large events: batches of 100 at level RequestResponse, 50 KB each, so 5 MB a body, 10 MB a second.
import { Batches, REQUEST_RESPONSE } from './lib/events.js';
import { offered } from './lib/scenario.js';
import { post } from './lib/webhook.js';

export { handleSummary } from './lib/scenario.js';

// Each user keeps 5 MB of text, and takes a third of a second to make it.
export const options = offered(2, {}, 10);

const batches = new Batches(REQUEST_RESPONSE, 100);

export default function largeBodies() {
  post(batches.next(), 100);
}
