//! Who may call and where messages may go: tokens, channels and webhooks.
//!
//! Contract: a directory is open (every bot token, every channel) until it is told
//! which there are; what is said of one token or channel holds in an open one too, and
//! leaves the others as they were. A channel the app cannot see (private, not a
//! member) is not found.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::message::{MissingScope, Refusal, channel_name};

/// Every scope a method here asks for.
pub const SCOPES: [&str; 11] = [
    "chat:write",
    "chat:write.public",
    "channels:read",
    "channels:join",
    "channels:history",
    "groups:read",
    "groups:history",
    "im:read",
    "im:history",
    "files:write",
    "reactions:write",
];

/// The workspace of everything that names none.
pub(super) const TEAM: &str = "T000";

/// A bot token.
///
/// As JSON for `POST /control/token`: `{"token":"xoxb-1","state":"revoked"}`; what is
/// left out stays as it was.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The secret.
    pub token: String,
    /// Whether it is good.
    pub state: TokenState,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Its workspace.
    pub team: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("state", &self.state)
            .field("scopes", &self.scopes)
            .field("team", &self.team)
            .finish_non_exhaustive()
    }
}

/// Whether a token is good, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// It is.
    Valid,
    /// `token_revoked`.
    Revoked,
    /// `account_inactive`.
    Inactive,
    /// `token_expired`.
    Expired,
    /// `invalid_auth`.
    Invalid,
}

impl From<&str> for Token {
    /// A valid token with every scope.
    fn from(token: &str) -> Self {
        Self {
            token: token.to_owned(),
            state: TokenState::Valid,
            scopes: SCOPES.map(str::to_owned).to_vec(),
            team: TEAM.to_owned(),
        }
    }
}

impl Token {
    /// The same with these scopes only.
    pub fn with_scopes(self, scopes: &[&str]) -> Self {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Self { scopes, ..self }
    }

    pub(super) fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|one| one == scope)
    }

    /// Refused unless the token has one of the scopes.
    pub(super) fn needs(&self, any_of: &[&str]) -> Result<(), Refusal> {
        if any_of.is_empty() || any_of.iter().any(|scope| self.has(scope)) {
            return Ok(());
        }
        Err(self.lacks(any_of))
    }

    /// What a token without the scopes is told.
    pub(super) fn lacks(&self, scopes: &[&str]) -> Refusal {
        Refusal {
            scopes: Some(MissingScope {
                needed: scopes.join(","),
                provided: self.scopes.join(","),
            }),
            ..Refusal::from("missing_scope")
        }
    }
}

/// A conversation.
///
/// As JSON for `POST /control/channel`: `{"id":"C1","archived":true}`; what is left out
/// stays as it was, or as it is in a channel that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// `C…`, `G…` or `D…`; not enforced.
    pub id: String,
    /// Without `#`.
    pub name: String,
    /// Public, private or direct.
    pub kind: ChannelKind,
    /// Nothing may be posted any more.
    pub archived: bool,
    /// Whether the app is a member.
    pub member: bool,
    /// What may be posted.
    pub posting: Posting,
    /// For a direct message: the user, whose ID is accepted in place of the channel's.
    pub user: Option<String>,
}

/// What kind of conversation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// A channel everybody sees.
    Public,
    /// A channel its members see.
    Private,
    /// A direct message.
    Direct,
}

impl ChannelKind {
    /// How scopes name it.
    pub(super) fn scope(self, what: &str) -> String {
        let family = match self {
            ChannelKind::Public => "channels",
            ChannelKind::Private => "groups",
            ChannelKind::Direct => "im",
        };
        format!("{family}:{what}")
    }
}

/// What may be posted to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Posting {
    /// Anything.
    Open,
    /// Nothing: `restricted_action_read_only_channel`.
    ReadOnly,
    /// Replies only: `restricted_action_thread_only_channel`.
    ThreadOnly,
    /// No replies: `restricted_action_non_threadable_channel`.
    NonThreadable,
}

impl From<&str> for Channel {
    /// A public channel with the app in it, whose ID is its name.
    fn from(name: &str) -> Self {
        Self::new(channel_name(name), channel_name(name))
    }
}

impl Channel {
    /// A public channel with the app in it.
    pub fn new(id: &str, name: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            kind: ChannelKind::Public,
            archived: false,
            member: true,
            posting: Posting::Open,
            user: None,
        }
    }

    /// The direct message with this user.
    pub fn direct(id: &str, user: &str) -> Self {
        Self {
            kind: ChannelKind::Direct,
            user: Some(user.to_owned()),
            ..Self::new(id, "")
        }
    }

    fn visible(&self) -> bool {
        self.member || self.kind == ChannelKind::Public
    }

    /// Whether a message may be posted, or a reply if it is one.
    pub(super) fn takes(&self, reply: bool) -> Result<(), Refusal> {
        if self.archived {
            return Err("is_archived".into());
        }
        match self.posting {
            Posting::ReadOnly => Err("restricted_action_read_only_channel".into()),
            Posting::ThreadOnly if !reply => Err("restricted_action_thread_only_channel".into()),
            Posting::NonThreadable if reply => {
                Err("restricted_action_non_threadable_channel".into())
            }
            _ => Ok(()),
        }
    }
}

/// All tokens, channels and webhooks.
#[derive(Debug)]
pub(super) struct Directory {
    any_token: bool,
    tokens: HashMap<String, Token>,
    any_channel: bool,
    channels: BTreeMap<String, Channel>,
    /// What the webhooks of a channel answer instead of taking messages.
    hooks: HashMap<String, String>,
}

impl Directory {
    pub(super) fn new(tokens: &[Token], channels: Option<&[Channel]>) -> Self {
        let by_id = |channel: &Channel| (channel.id.clone(), channel.clone());
        Self {
            any_token: tokens.is_empty(),
            tokens: tokens
                .iter()
                .map(|token| (token.token.clone(), token.clone()))
                .collect(),
            any_channel: channels.is_none(),
            channels: channels.unwrap_or_default().iter().map(by_id).collect(),
            hooks: HashMap::new(),
        }
    }

    /// The token if it is good.
    pub(super) fn token(&self, token: &str) -> Result<Token, Refusal> {
        let known = self.tokens.get(token).cloned();
        let open = || (self.any_token && token.starts_with("xoxb-")).then(|| token.into());
        let token: Token = known.or_else(open).ok_or("invalid_auth")?;
        match token.state {
            TokenState::Valid => Ok(token),
            TokenState::Revoked => Err("token_revoked".into()),
            TokenState::Inactive => Err("account_inactive".into()),
            TokenState::Expired => Err("token_expired".into()),
            TokenState::Invalid => Err("invalid_auth".into()),
        }
    }

    /// The channel with this ID, if the app sees it.
    pub(super) fn by_id(&self, id: &str) -> Option<Channel> {
        let known = self.channels.get(id).cloned();
        let open = || (self.any_channel && !id.is_empty()).then(|| id.into());
        known.or_else(open).filter(Channel::visible)
    }

    /// The channel a message is for: by ID, by user, or by name if it is public.
    pub(super) fn destination(&self, given: &str) -> Option<Channel> {
        let given = channel_name(given);
        let by_name = |channel: &&Channel| {
            channel.user.as_deref() == Some(given)
                || (channel.name == given && channel.kind == ChannelKind::Public)
        };
        // An ID the app cannot see is not taken for a name.
        if self.channels.contains_key(given) {
            return self.by_id(given);
        }
        let named = self.channels.values().find(by_name).cloned();
        named.or_else(|| self.by_id(given))
    }

    /// The channel of a webhook, by ID or name, whether the app is a member or not.
    pub(super) fn hooked(&self, given: &str) -> Option<Channel> {
        let is_it = |channel: &&Channel| channel.id == given || channel.name == given;
        let known = self.channels.values().find(is_it).cloned();
        known.or_else(|| self.by_id(given))
    }

    /// The channels the app sees, by ID.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values().filter(|channel| channel.visible())
    }

    /// The channel with this ID or name; one that is not there as it would be made.
    pub(super) fn channel_or_new(&self, given: &str) -> Channel {
        let given = channel_name(given);
        let named = || self.channels.values().find(|channel| channel.name == given);
        let known = self.channels.get(given).or_else(named);
        known.cloned().unwrap_or_else(|| given.into())
    }

    /// The same, to be changed.
    pub(super) fn channel_mut(&mut self, given: &str) -> &mut Channel {
        let channel = self.channel_or_new(given);
        self.channels.entry(channel.id.clone()).or_insert(channel)
    }

    /// The token; one that is not there as it would be made.
    pub(super) fn token_or_new(&self, token: &str) -> Token {
        let known = self.tokens.get(token).cloned();
        known.unwrap_or_else(|| token.into())
    }

    /// The same, to be changed.
    pub(super) fn token_mut(&mut self, token: &str) -> &mut Token {
        let entry = self.tokens.entry(token.to_owned());
        entry.or_insert_with(|| token.into())
    }

    /// What the channel's webhooks answer, if they are gone.
    pub(super) fn hook(&self, channel: &str) -> Option<&str> {
        self.hooks.get(channel_name(channel)).map(String::as_str)
    }

    pub(super) fn set_hook(&mut self, channel: &str, error: Option<String>) {
        let channel = channel_name(channel).to_owned();
        match error {
            Some(error) => self.hooks.insert(channel, error),
            None => self.hooks.remove(&channel),
        };
    }
}
