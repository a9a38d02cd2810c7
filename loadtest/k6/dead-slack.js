// One API server at its ceiling while Slack cannot be reached, or answers 503: loadtest/scenarios.sh sees to
// that. Receiving must not notice; the backlog grows and nothing is lost.
export { default, handleSummary, options } from './steady.js';
