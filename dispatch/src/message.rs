//! A message, ready for any destination.

use auditrelay_audit::HashKey;
use auditrelay_store::{Delivery, Lease};
use serde_json::Value;

/// What is posted: text for notifications, blocks for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Text for notifications and screen readers, escaped.
    pub text: String,
    /// Block Kit blocks.
    pub blocks: Vec<Value>,
    /// `sentences`, `digest` or `details`.
    pub form: &'static str,
    /// Tells it from every other message, for ever: the same after a crash, by which it is found again.
    /// Empty where nobody will look for it.
    pub id: String,
    /// The message that it replies to, as the destination names it.
    pub thread: Option<String>,
}

impl Message {
    /// A message of its own that nobody will look for.
    pub fn new(text: String, blocks: Vec<Value>, form: &'static str) -> Self {
        Self {
            text,
            blocks,
            form,
            id: String::new(),
            thread: None,
        }
    }

    /// The same message as text alone.
    #[must_use]
    pub fn plain(self) -> Self {
        Self {
            blocks: Vec::new(),
            ..self
        }
    }
}

/// The ID of the message that a lease stands for: its own number and its members decide it, so it is the
/// same after a crash, and another one in another store, even one that counts its leases anew.
pub fn id_of(key: &HashKey, lease: &Lease) -> String {
    let number = lease.id.id.to_be_bytes();
    let members = lease.members.iter().map(|(_, delivery)| match delivery {
        Delivery::Event(event) => event.json.as_bytes(),
        Delivery::Notice(notice) => notice.text.as_bytes(),
    });
    let parts = [lease.id.channel.as_bytes(), number.as_slice()];
    format!("{:032x}", key.message(parts.into_iter().chain(members)))
}
