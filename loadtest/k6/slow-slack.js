// One API server at its ceiling while Slack takes seconds to answer each message: loadtest/scenarios.sh sees to
// that. Receiving must not notice; the backlog grows and nothing is lost.
export { default, handleSummary, options } from './steady.js';
