// One API server at its ceiling: 10 batches a second of 400 events at level Metadata.
import { Batches, METADATA } from './lib/events.js';
import { offered } from './lib/scenario.js';
import { post } from './lib/webhook.js';

export { handleSummary } from './lib/scenario.js';

// Generous, so that a busy machine does not fail it; what is fast is judged elsewhere.
export const options = offered(10, { http_req_duration: ['p(99)<500', 'max<1000'] });

const batches = new Batches(METADATA, 400);

export default function steady() {
  post(batches.next(), 400);
}
