// Everything a day brings, for SOAK_SECONDS: an API server at its ceiling with one batch in ten repeated
// and, every other second, ten large events.
import exec from 'k6/execution';

import { Batches, METADATA, REQUEST_RESPONSE } from './lib/events.js';
import { offered } from './lib/scenario.js';
import { post } from './lib/webhook.js';

export { handleSummary } from './lib/scenario.js';

export const options = offered(10);

const small = new Batches(METADATA, 400);
const large = new Batches(REQUEST_RESPONSE, 10);

export default function soak() {
  const nth = exec.scenario.iterationInTest;
  if (nth % 20 === 19) post(large.next(), 10);
  else post(small.next(), 400, { times: nth % 10 === 5 ? 2 : 1 });
}
