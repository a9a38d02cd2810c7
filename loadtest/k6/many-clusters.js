// 50 API servers whose events happen to have the same audit IDs, even the same bytes: each posts the
// same batch to /webhook/<cluster>. They are different events, so none may count as a duplicate.
import { Batches, METADATA } from './lib/events.js';
import { offered } from './lib/scenario.js';
import { post } from './lib/webhook.js';

export { handleSummary } from './lib/scenario.js';

const CLUSTERS = 50;
const EVENTS = 40;

// Two rounds through all clusters a second: 4,000 events.
export const options = offered(2);

const batches = new Batches(METADATA, EVENTS);

export default function manyClusters() {
  const body = batches.next();
  for (let cluster = 1; cluster <= CLUSTERS; cluster += 1) {
    post(body, EVENTS, { cluster: `cluster-${cluster}` });
  }
}
