//! Which channel an event goes to. Rules are tried in order, the first match decides.
//!
//! A route that names no stages takes a request at the one stage at which it is told by default, so
//! that a route never tells one request twice by accident. Without any route every request goes to the
//! default channel. With routes, what none of them matches is filtered.

use auditrelay_audit::{Envelope, Severity, policy::Matcher};
use auditrelay_config::Config;

/// The routing table.
#[derive(Debug, Clone)]
pub struct Routes {
    default_channel: String,
    routes: Vec<Route>,
}

#[derive(Debug, Clone)]
struct Route {
    name: String,
    channel: String,
    severity: Severity,
    matcher: Matcher,
}

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The channel's name.
    pub channel: &'a str,
    /// How urgent it is there.
    pub severity: Severity,
    /// The route's name; empty for the default.
    pub route: &'a str,
}

impl Routes {
    /// The table of a configuration.
    pub fn new(config: &Config) -> Self {
        let routes = config.routes.iter().map(|route| Route {
            name: route.name.to_string(),
            channel: route.channel.to_string(),
            severity: route.severity,
            matcher: route.matcher(),
        });
        Self {
            default_channel: config.default_channel.to_string(),
            routes: routes.collect(),
        }
    }

    /// Where the event goes; `None` means that nobody wants it.
    pub fn target(&self, event: &Envelope<'_>) -> Option<Target<'_>> {
        let told = event.is_told_by_default();
        if self.routes.is_empty() {
            return told.then(|| Target {
                channel: &self.default_channel,
                severity: Severity::Info,
                route: "",
            });
        }
        let route = self.routes.iter().find(|route| {
            (told || !route.matcher.stages.is_empty()) && route.matcher.matches(event)
        })?;
        Some(Target {
            channel: &route.channel,
            severity: route.severity,
            route: &route.name,
        })
    }

    /// Where the relay's own notices go.
    pub fn default_channel(&self) -> &str {
        &self.default_channel
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use auditrelay_config::{Overrides, load};

    use super::*;

    fn routes(yaml: &str) -> Routes {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(yaml.as_bytes()).expect("written");
        Routes::new(
            &load(Some(file.path()), [], Overrides::default())
                .expect("valid")
                .config,
        )
    }

    fn event(stage: &str, verb: &str, resource: &str) -> String {
        format!(
            r#"{{"level":"Metadata","stage":"{stage}","verb":"{verb}","user":{{"username":"alice"}},"objectRef":{{"resource":"{resource}"}}}}"#
        )
    }

    fn told(
        routes: &Routes,
        stage: &str,
        verb: &str,
        resource: &str,
    ) -> Option<(String, Severity, String)> {
        let text = event(stage, verb, resource);
        let envelope = Envelope::parse(&text).expect("readable");
        let target = routes.target(&envelope)?;
        Some((
            target.channel.to_owned(),
            target.severity,
            target.route.to_owned(),
        ))
    }

    #[test]
    fn without_routes_each_request_is_told_once_in_the_default_channel() {
        let routes = routes("channels:\n  ops:\n    preview: true\n");
        assert_eq!(
            told(&routes, "ResponseComplete", "get", "pods"),
            Some(("ops".into(), Severity::Info, String::new()))
        );
        assert_eq!(told(&routes, "RequestReceived", "get", "pods"), None);
    }

    #[test]
    fn the_first_match_decides_and_no_match_filters() {
        let routes = routes(
            "channels: {ops: {preview: true}, sec: {preview: true}}
default_channel: ops
routes:
- {name: secrets, channel: sec, severity: critical, resources: [{resources: [secrets]}]}
- {name: received, channel: ops, stages: [RequestReceived], verbs: [delete]}
- {name: deletes, channel: ops, severity: warning, verbs: [delete]}
",
        );
        let to = |channel: &str, severity, route: &str| {
            Some((channel.to_owned(), severity, route.to_owned()))
        };
        assert_eq!(
            told(&routes, "ResponseComplete", "delete", "secrets"),
            to("sec", Severity::Critical, "secrets")
        );
        assert_eq!(
            told(&routes, "ResponseComplete", "delete", "pods"),
            to("ops", Severity::Warning, "deletes")
        );
        assert_eq!(
            told(&routes, "RequestReceived", "delete", "pods"),
            to("ops", Severity::Info, "received")
        );
        assert_eq!(told(&routes, "RequestReceived", "get", "secrets"), None);
        assert_eq!(told(&routes, "ResponseComplete", "get", "pods"), None);
    }
}
