//! How a channel's messages look, from its configuration.

use std::sync::Arc;

use auditrelay_config::{ChannelConfig, DigestDetails};

use crate::{render::Style, template::Templates};

impl Style {
    /// As the channel is configured. `names_members`: whether what a message stands for is kept, so that
    /// a digest can say how to see it.
    pub fn of(channel: &ChannelConfig, names_members: bool, templates: Arc<Templates>) -> Self {
        Self {
            sentences_max: channel.sentences_max.as_usize(),
            digest_groups_max: channel.digest_groups_max.as_usize(),
            // What is not kept cannot be listed.
            details: if names_members {
                channel.digest_details
            } else {
                DigestDetails::Command
            },
            names_members,
            templates,
        }
    }
}
