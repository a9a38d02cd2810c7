//! What a channel or a route has to say of an event in its own words.

use auditrelay_audit::Envelope;
use auditrelay_config::{ChannelConfig, RouteConfig};
use auditrelay_store::EventDelivery;
use url::Url;

/// The templates of one channel and of the routes that lead to it, compiled.
#[derive(Debug, Default)]
pub struct Templates {}

impl Templates {
    /// Compiles them and tries each on a sample event.
    ///
    /// # Errors
    /// The key that holds it, and what is wrong, in one line.
    pub fn new(_channel: &ChannelConfig, _routes: &[RouteConfig]) -> Result<Self, String> {
        Ok(Self {})
    }

    /// What stands in place of the sentence; clean, bounded text.
    pub fn sentence(&self, _event: &EventDelivery, _envelope: &Envelope<'_>) -> Option<String> {
        None
    }

    /// More to say of the event: titles and clean, bounded texts, none empty.
    pub fn fields(
        &self,
        _event: &EventDelivery,
        _envelope: &Envelope<'_>,
    ) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Links of the event's route: what each is called, and where it leads (http or https).
    pub fn links(&self, _event: &EventDelivery, _envelope: &Envelope<'_>) -> Vec<(String, Url)> {
        Vec::new()
    }

    /// The command of the event's route; clean, bounded text, its values quoted for a shell.
    pub fn command(&self, _event: &EventDelivery, _envelope: &Envelope<'_>) -> Option<String> {
        None
    }
}
