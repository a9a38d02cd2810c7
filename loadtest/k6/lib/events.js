// Batches of audit events, none like another.
//
// k6's JavaScript is slow: filling 400 events for each batch would make k6 the bottleneck. So each
// virtual user fills the templates once, but for the audit IDs, and cuts the text where an ID begins.
// A batch is then one `join` of these pieces with the batch's own prefix, which k6 does natively:
// every event gets an ID of its own, for the price of a copy.
//
// What this means: two batches of one virtual user differ in their audit IDs only, until the pieces
// are filled anew (REFILL_MS). Within a batch everything varies that varies in a real cluster, so
// that it compresses like a real one; the relay compresses each batch by itself. The slots are
// described in loadtest/src/events.rs.
import exec from 'k6/execution';

const HEAD = '{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[';
const TAIL = ']}\n';
// Times of events must stay near the present, since the relay measures delays from them.
const REFILL_MS = 30000;
// Kubernetes: the alphabet of generated names has no vowels.
const NAME_LETTERS = 'bcdfghjklmnpqrstvwxz2456789';

const load = (name) =>
  open(import.meta.resolve(`../../events/${name}.jsonl`)).trim().split('\n');

/** 1.2 KB each. */
export const METADATA = load('metadata');
/** 50 KB each. */
export const REQUEST_RESPONSE = load('request_response');

const below = (limit) => Math.floor(Math.random() * limit);
const hex = (number, digits) => number.toString(16).padStart(digits, '0');

function uuid() {
  const part = (digits) => hex(below(16 ** digits), digits);
  return `${part(8)}-${part(4)}-4${part(3)}-8${part(3)}-${part(12)}`;
}

function name() {
  let letters = '';
  for (let i = 0; i < 5; i += 1) letters += NAME_LETTERS[below(NAME_LETTERS.length)];
  return letters;
}

/** The API server writes microseconds. */
const time = (ms) =>
  new Date(ms).toISOString().replace('Z', `${String(below(1000)).padStart(3, '0')}Z`);

// The objects that a busy cluster's requests are about: a few hundred.
const UIDS = Array.from({ length: 256 }, uuid);

/** Every slot but the audit ID. */
function slots(nowMs) {
  const values = {
    uuid: () => UIDS[below(UIDS.length)],
    name,
    octet: () => below(256),
    number: () => 100000000 + below(900000000),
    begun: () => time(nowMs - 5),
    ended: () => time(nowMs),
  };
  return (whole, slot) => (slot === 'id' ? whole : values[slot]());
}

/** Batches of one virtual user. */
export class Batches {
  /** @param {string[]} templates @param {number} events in each batch */
  constructor(templates, events) {
    this.templates = templates;
    this.events = events;
    this.made = 0;
    this.filledMs = 0;
  }

  /** The next batch as the API server would write it. */
  next() {
    if (Date.now() - this.filledMs > REFILL_MS) this.fill();
    const vu = hex(exec.vu.idInTest, 4);
    const batch = hex(this.made, 6);
    this.made += 1;
    return this.pieces.join(`${this.run}-${vu}-4${batch.slice(0, 3)}-8${batch.slice(3)}-`);
  }

  fill() {
    this.filledMs = Date.now();
    // Told apart from all other users and runs even if they share a relay.
    this.run = this.run || uuid().slice(0, 8);
    const fillSlot = slots(this.filledMs);
    const events = [];
    for (let i = 0; i < this.events; i += 1) {
      const template = this.templates[i % this.templates.length];
      const event = template.replace(/%([a-z]+)%/g, fillSlot);
      events.push(event.replace('%id%', `%id%${hex(i, 12)}`));
    }
    this.pieces = `${HEAD}${events.join(',')}${TAIL}`.split('%id%');
  }
}
