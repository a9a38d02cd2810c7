//! Slack's errors, what the lane does with each, and who says that there is such an error: the one table.
//!
//! `Later`: certainly not posted, will pass by itself. `Park`: a person has to mend the channel or
//! the token. `Never`: this message is what is wrong. `Unknown`: it may have been posted. docs/slack.md
//! shows the table to people; a test holds the two together.

/// What to do about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A rate limit: nothing was posted, the lane waits, and the token's other channels may have to.
    Limited,
    /// Nothing was posted, and it will pass by itself.
    Later,
    /// A person has to mend something.
    Park,
    /// This message will not be taken.
    Never,
    /// It may have been posted.
    Unknown,
}

impl Action {
    /// Its name in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limited => "later (rate limit)",
            Self::Later => "later",
            Self::Park => "park",
            Self::Never => "never",
            Self::Unknown => "unknown",
        }
    }
}

/// One of Slack's errors.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Slack's word for it.
    pub code: &'static str,
    /// What the lane does.
    pub action: Action,
    /// Who says that there is such an error.
    pub source: Source,
    /// What it means, and what a person can do about it.
    pub advice: &'static str,
}

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The reference page of `chat.postMessage`.
    Method,
    /// The page of the Web API: errors that any method may answer.
    WebApi,
    /// The reference pages of `chat.update` and of file uploads, whose errors posting may answer too.
    OtherMethods,
    /// The page of incoming webhooks.
    Webhooks,
    /// Slack's changelog of 2016-05-17, "Changes to errors for incoming webhooks".
    Changelog,
    /// Seen in public reports; Slack documents it nowhere.
    Seen,
}

impl Source {
    /// Its name in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "chat.postMessage",
            Self::WebApi => "Web API",
            Self::OtherMethods => "chat.update, files.*",
            Self::Webhooks => "incoming webhooks",
            Self::Changelog => "changelog 2016-05-17",
            Self::Seen => "seen",
        }
    }
}

const fn row(code: &'static str, action: Action, source: Source, advice: &'static str) -> Row {
    Row {
        code,
        action,
        source,
        advice,
    }
}

use Action::{Later, Limited, Never, Park, Unknown};
use Source::{Changelog, Method, OtherMethods, Seen, WebApi, Webhooks};

const INVITE: &str = "invite the bot into the channel";
const TOKEN: &str = "give the relay a token that works";
const POLICY: &str = "a rule of the workspace forbids it; ask its admins";
const SHRINK: &str = "tried smaller and plainer, then buried; `auditrelay dead list` has it";
pub(super) const WAIT: &str = "nothing to do";

/// The first of Slack's words for errors that stands in a text.
pub(crate) fn code_in(text: &str) -> Option<&'static str> {
    let known = || {
        let webhooks = WEBHOOK_TABLE.iter().map(|(_, row)| row.code);
        TABLE.iter().map(|row| row.code).chain(webhooks)
    };
    let words = text.split(|one: char| !(one.is_ascii_alphanumeric() || one == '_'));
    words
        .flat_map(|word| known().find(|code| *code == word))
        .next()
}

/// `{"ok":false,"error":code}` of a Web API method.
pub const TABLE: &[Row] = &[
    row("ratelimited", Limited, Method, WAIT),
    row("rate_limited", Limited, Method, WAIT),
    row(
        "message_limit_exceeded",
        Limited,
        Method,
        "the workspace's plan allows no more messages for now",
    ),
    row("service_unavailable", Later, Method, WAIT),
    row(
        "team_added_to_org",
        Later,
        Method,
        "the workspace is being moved; it passes",
    ),
    row(
        "org_login_required",
        Later,
        Method,
        "the workspace is being moved; it passes",
    ),
    row(
        "request_timeout",
        Later,
        Method,
        "the request was cut on its way; look at proxies",
    ),
    row("internal_error", Unknown, Method, WAIT),
    row("fatal_error", Unknown, Method, WAIT),
    row("update_failed", Unknown, OtherMethods, WAIT),
    row(
        "channel_not_found",
        Park,
        Method,
        "correct slack_channel, or invite the bot if the channel is private",
    ),
    row("not_in_channel", Park, Method, INVITE),
    row(
        "is_archived",
        Park,
        Method,
        "unarchive the channel or name another one",
    ),
    row(
        "is_inactive",
        Park,
        OtherMethods,
        "unarchive the channel or name another one",
    ),
    row(
        "messages_tab_disabled",
        Park,
        Method,
        "turn on the app's Messages tab",
    ),
    row("restricted_action", Park, Method, POLICY),
    row(
        "restricted_action_read_only_channel",
        Park,
        Method,
        "let the app post in the channel",
    ),
    row(
        "restricted_action_thread_only_channel",
        Park,
        Method,
        "let the app post in the channel",
    ),
    row(
        "restricted_action_non_threadable_channel",
        Park,
        Method,
        "set digest_details: command for the channel",
    ),
    row(
        "restricted_action_thread_locked",
        Park,
        Method,
        "unlock the thread",
    ),
    row("cannot_reply_to_message", Never, Method, SHRINK),
    row("ekm_access_denied", Park, Method, POLICY),
    row("slack_connect_canvas_sharing_blocked", Park, Method, POLICY),
    row(
        "slack_connect_file_link_sharing_blocked",
        Park,
        Method,
        POLICY,
    ),
    row("slack_connect_lists_sharing_blocked", Park, Method, POLICY),
    row(
        "team_not_found",
        Park,
        Method,
        "name the channel by its ID: an org-wide token needs it",
    ),
    row("not_authed", Park, Method, TOKEN),
    row(
        "invalid_auth",
        Park,
        Method,
        "give the relay a token that works, from an address that is allowed",
    ),
    row("account_inactive", Park, Method, TOKEN),
    row("token_revoked", Park, Method, TOKEN),
    row("token_expired", Park, Method, TOKEN),
    row(
        "not_allowed_token_type",
        Park,
        Method,
        "use a bot token (xoxb-)",
    ),
    row(
        "missing_scope",
        Park,
        Method,
        "add the scope to the app and install it again",
    ),
    row("no_permission", Park, Method, POLICY),
    row(
        "team_access_not_granted",
        Park,
        Method,
        "grant the app access to the workspace",
    ),
    row("app_access_restricted", Park, Method, POLICY),
    row("access_denied", Park, Method, POLICY),
    row(
        "accesslimited",
        Park,
        Method,
        "the workspace allows other networks only",
    ),
    row("enterprise_is_restricted", Park, Method, POLICY),
    row(
        "two_factor_setup_required",
        Park,
        Method,
        "set up two-factor authentication",
    ),
    row("is_bot", Park, Method, "use a bot token (xoxb-)"),
    row("send_on_behalf_not_allowed", Park, Method, POLICY),
    row(
        "as_user_not_supported",
        Park,
        Method,
        "use a bot token (xoxb-)",
    ),
    row(
        "metadata_must_be_sent_from_app",
        Park,
        Method,
        "use the token of an app (xoxb-)",
    ),
    row("no_text", Never, Method, SHRINK),
    row("msg_blocks_too_long", Never, Method, SHRINK),
    row("msg_too_long", Never, OtherMethods, SHRINK),
    row("too_many_attachments", Never, Method, SHRINK),
    row("attachment_payload_limit_exceeded", Never, Method, SHRINK),
    row("too_many_contact_cards", Never, Method, SHRINK),
    row("invalid_blocks", Never, Method, SHRINK),
    row("invalid_blocks_format", Never, Method, SHRINK),
    row("invalid_attachments", Never, OtherMethods, SHRINK),
    row("invalid_metadata_format", Never, Method, SHRINK),
    row("invalid_metadata_schema", Never, Method, SHRINK),
    row("metadata_too_large", Never, Method, SHRINK),
    row("markdown_text_conflict", Never, Method, SHRINK),
    row("missing_file_data", Never, Method, SHRINK),
    row("invalid_arguments", Never, WebApi, SHRINK),
    row("invalid_arg_name", Never, WebApi, SHRINK),
    row("invalid_array_arg", Never, WebApi, SHRINK),
    row("invalid_charset", Never, WebApi, SHRINK),
    row("invalid_form_data", Never, WebApi, SHRINK),
    row("invalid_json", Never, WebApi, SHRINK),
    row("json_not_object", Never, WebApi, SHRINK),
    row(
        "invalid_post_type",
        Park,
        WebApi,
        "something between here and Slack changes requests; look at proxies",
    ),
    row(
        "missing_post_type",
        Park,
        WebApi,
        "something between here and Slack changes requests; look at proxies",
    ),
    row("unknown_method", Park, WebApi, "correct slack.api_url"),
    row("method_deprecated", Park, WebApi, "update the relay"),
    row("deprecated_endpoint", Park, WebApi, "update the relay"),
];

/// An incoming webhook's status and body; where the status is 0, any.
pub const WEBHOOK_TABLE: &[(u16, Row)] = &[
    (400, row("invalid_payload", Never, Changelog, SHRINK)),
    (400, row("invalid_blocks", Never, Seen, SHRINK)),
    (400, row("invalid_blocks_format", Never, Seen, SHRINK)),
    (400, row("no_text", Never, Webhooks, SHRINK)),
    (400, row("too_many_attachments", Never, Webhooks, SHRINK)),
    (
        400,
        row("user_not_found", Park, Changelog, "make a new webhook"),
    ),
    (
        0,
        row("posting_to_general_channel_denied", Park, Webhooks, POLICY),
    ),
    (403, row("action_prohibited", Park, Changelog, POLICY)),
    (
        403,
        row("invalid_token", Park, Webhooks, "make a new webhook"),
    ),
    (
        404,
        row(
            "channel_not_found",
            Park,
            Changelog,
            "make a webhook for another channel",
        ),
    ),
    (
        404,
        row(
            "no_service",
            Park,
            Webhooks,
            "the webhook was disabled or removed: make a new one",
        ),
    ),
    (
        0,
        row("no_service_id", Park, Webhooks, "correct webhook_url"),
    ),
    (
        0,
        row(
            "no_active_hooks",
            Park,
            Webhooks,
            "the webhook was disabled: make a new one",
        ),
    ),
    (0, row("no_team", Park, Webhooks, "correct webhook_url")),
    (
        0,
        row("team_disabled", Park, Webhooks, "the workspace is disabled"),
    ),
    (
        410,
        row(
            "channel_is_archived",
            Park,
            Changelog,
            "unarchive the channel or make another webhook",
        ),
    ),
    (500, row("rollup_error", Unknown, Changelog, WAIT)),
];
