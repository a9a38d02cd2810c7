// Drives the local Slack with Slack's own SDK for Node.
//
// Environment: SLACK is its address (http://127.0.0.1:PORT), SDKS the folder with node_modules.
// Any surprise ends it with a stack trace.
const assert = require("node:assert/strict");
const { createRequire } = require("node:module");
const { SLACK, SDKS } = process.env;
const { WebClient, LogLevel } = createRequire(`${SDKS}/package.json`)("@slack/web-api");

const client = (token = "xoxb-node", options = {}) =>
  new WebClient(token, {
    slackApiUrl: `${SLACK}/api/`,
    logLevel: LogLevel.ERROR,
    timeout: 10000,
    retryConfig: { retries: 0 },
    ...options,
  });

async function post(path, body) {
  const answer = await fetch(SLACK + path, { method: "POST", body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.text());
}

const inject = (effect, where = {}) => post("/inject", { effect, ...where });

async function fails(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("no error");
}

async function messages(slack) {
  assert.equal((await slack.auth.test()).bot_id, "B000");
  const posted = await slack.chat.postMessage({
    channel: "node",
    text: "one",
    blocks: [{ type: "header", text: { type: "plain_text", text: "head" } }],
    metadata: { event_type: "auditrelay_message", event_payload: { id: "n1", n: 1 } },
    unfurl_links: false,
    unfurl_media: false,
  });
  assert.equal(posted.message.blocks[0].type, "header");
  assert.ok(posted.response_metadata.scopes.includes("chat:write"));
  assert.deepEqual(posted.response_metadata.acceptedScopes, ["chat:write"]);
  const { ts, channel } = posted;
  await slack.chat.postMessage({ channel, text: "reply", thread_ts: ts });
  await slack.chat.update({ channel, ts, text: "changed" });
  const bare = await slack.conversations.history({ channel, oldest: ts, inclusive: true });
  assert.deepEqual(bare.messages[0].metadata, { event_type: "auditrelay_message" });
  const whole = await slack.conversations.history({ channel, include_all_metadata: true });
  assert.deepEqual(whole.messages[0].metadata.event_payload, { id: "n1", n: 1 });
  assert.equal(whole.messages[0].text, "changed");
  const thread = await slack.conversations.replies({ channel, ts });
  assert.deepEqual(thread.messages.map(({ text }) => text), ["changed", "reply"]);
}

async function channels(slack) {
  for (const id of ["l1", "l2", "l3"]) await post("/control/channel", { id, member: false });
  const listed = [];
  for await (const page of slack.paginate("conversations.list", { limit: 2 })) {
    listed.push(...page.channels.map(({ id }) => id));
  }
  assert.deepEqual(listed, ["l1", "l2", "l3"]);
  assert.equal((await slack.conversations.info({ channel: "l1" })).channel.is_member, false);
  assert.equal((await slack.conversations.join({ channel: "l1" })).channel.is_member, true);
}

async function failures(slack) {
  await inject({ kind: "retry_after", seconds: 1 }, { channel: "node" });
  const patient = client("xoxb-node", { retryConfig: { retries: 2, minTimeout: 10 } });
  await patient.chat.postMessage({ channel: "node", text: "after 429" });
  const hasty = client("xoxb-node", { rejectRateLimitedCalls: true });
  await inject({ kind: "retry_after", seconds: 2 }, { method: "conversations.info" });
  const limited = await fails(hasty.conversations.info({ channel: "node" }));
  assert.equal(limited.code, "slack_webapi_rate_limited_error");
  assert.equal(limited.retryAfter, 2);
  await inject({ kind: "http_status", status: 503 });
  const html = await fails(slack.chat.postMessage({ channel: "node", text: "never" }));
  assert.equal(html.code, "slack_webapi_http_error");
  assert.equal(html.statusCode, 503);
  await inject({ kind: "http_status", status: 503 });
  await patient.chat.postMessage({ channel: "node", text: "after 503" });
  const auth = await fails(client("xoxp-bad").auth.test());
  assert.equal(auth.data.error, "invalid_auth");
  const blocks = [{ type: "header" }];
  const invalid = await fails(slack.chat.postMessage({ channel: "node", text: "a", blocks }));
  assert.equal(invalid.data.error, "invalid_blocks");
  assert.deepEqual(invalid.data.errors, ["missing required field: text [json-pointer:/blocks/0]"]);
}

async function main() {
  const slack = client();
  await messages(slack);
  await channels(slack);
  await slack.filesUploadV2({ channel_id: "node", filename: "events.txt", content: "line <1>\n" });
  await failures(slack);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
