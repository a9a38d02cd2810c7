//! Which channel an event goes to. Rules are tried in order, the first match decides.
//!
//! A route that names no stages takes a request at the one stage at which it is told by default, so
//! that a route never tells one request twice by accident. Without any route every request goes to the
//! default channel. With routes, what none of them matches is filtered.
//!
//! The decision needs nothing but the envelope, so it can be made where the event is read anyway, and
//! travel with it as a [`Hint`]. A hint is worth something only to the very table that gave it:
//! [`Routes::id`] differs for every other table and every other version of the relay.

use std::hash::{DefaultHasher, Hash, Hasher};

use auditrelay_audit::{Envelope, Severity, policy::Matcher, redact::Bodies};
use auditrelay_config::Config;
use auditrelay_store::Hint;

use crate::route_index::RouteIndex;

const DEFAULT: Hint = Hint(0);
/// Of the first route; the others follow.
const FIRST_ROUTE: usize = 1;
/// The table has more routes than hints have numbers: look again.
const UNKNOWN: Hint = Hint(u16::MAX);
/// Routes that have a number come before this.
const NOBODY: Hint = Hint(u16::MAX - 1);

/// The routing table.
#[derive(Debug, Clone)]
pub struct Routes {
    id: u64,
    default_channel: String,
    routes: Vec<Route>,
    index: RouteIndex,
}

#[derive(Debug, Clone)]
struct Route {
    name: String,
    channel: String,
    severity: Severity,
    matcher: Matcher,
    bodies: Bodies,
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
    /// The hint of an event that nobody wants and that is stored all the same, to be looked back at.
    pub const NOBODY: Hint = NOBODY;

    /// What names no table: of blocks whose events are for nobody, whatever the table is when they are routed. It may
    /// be another one by then, or that of another version.
    pub const FOR_NOBODY: u64 = u64::MAX;

    /// The table of a configuration.
    pub fn new(config: &Config) -> Self {
        let routes = config.routes.iter().map(|route| Route {
            name: route.name.to_string(),
            channel: route.channel.to_string(),
            severity: route.severity,
            matcher: route.matcher(),
            bodies: route.bodies,
        });
        let routes: Vec<Route> = routes.collect();
        let default_channel = config.default_channel.to_string();
        let mut id = DefaultHasher::new();
        let version = env!("CARGO_PKG_VERSION");
        format!("{version} {default_channel:?} {routes:?}").hash(&mut id);
        Self {
            id: id.finish(),
            index: RouteIndex::new(routes.iter().map(|route| &route.matcher)),
            default_channel,
            routes,
        }
    }

    /// Names this table, with all that is in it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The routes' names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| route.name.as_str())
    }

    /// Where the event goes; `None` means that nobody wants it.
    pub fn target(&self, event: &Envelope<'_>) -> Option<Target<'_>> {
        match self.decide(event) {
            Decision::Nobody => None,
            Decision::Default => Some(self.default_target()),
            Decision::Route(number) => Some(self.route_target(number)),
        }
    }

    /// The same, as a hint for [`Routes::hinted`].
    pub fn hint(&self, event: &Envelope<'_>) -> Option<Hint> {
        self.advice(event).map(|(hint, _)| hint)
    }

    /// The hint, and what the route that takes the event wants stored of its bodies.
    pub fn advice(&self, event: &Envelope<'_>) -> Option<(Hint, Bodies)> {
        match self.decide(event) {
            Decision::Nobody => None,
            Decision::Default => Some((DEFAULT, Bodies::Keep)),
            Decision::Route(number) => {
                let hint = u16::try_from(FIRST_ROUTE + number).map(Hint);
                let hint = hint.ok().filter(|hint| hint.0 < NOBODY.0);
                Some((hint.unwrap_or(UNKNOWN), self.routes[number].bodies))
            }
        }
    }

    /// What a hint of this table says: who wants the event, if anybody does. `None` means that it says
    /// nothing, and the event has to be read.
    pub fn hinted(&self, hint: Hint) -> Option<Option<Target<'_>>> {
        match hint {
            DEFAULT => Some(Some(self.default_target())),
            UNKNOWN => None,
            NOBODY => Some(None),
            Hint(number) => {
                let number = usize::from(number) - FIRST_ROUTE;
                (number < self.routes.len()).then(|| Some(self.route_target(number)))
            }
        }
    }

    fn decide(&self, event: &Envelope<'_>) -> Decision {
        let told = event.is_told_by_default();
        if self.routes.is_empty() {
            return if told {
                Decision::Default
            } else {
                Decision::Nobody
            };
        }
        let matches = |number: &usize| {
            let matcher = &self.routes[*number].matcher;
            (told || !matcher.stages.is_empty()) && matcher.matches(event)
        };
        self.index
            .candidates(event, matches)
            .map_or(Decision::Nobody, Decision::Route)
    }

    fn default_target(&self) -> Target<'_> {
        Target {
            channel: &self.default_channel,
            severity: Severity::Info,
            route: "",
        }
    }

    fn route_target(&self, number: usize) -> Target<'_> {
        let route = &self.routes[number];
        Target {
            channel: &route.channel,
            severity: route.severity,
            route: &route.name,
        }
    }

    /// Where the relay's own notices go.
    pub fn default_channel(&self) -> &str {
        &self.default_channel
    }
}

enum Decision {
    Nobody,
    Default,
    Route(usize),
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
        let target = routes.target(&envelope);
        // Whoever decides, the decision is the same.
        let hint = routes.hint(&envelope).unwrap_or(Routes::NOBODY);
        assert_eq!(routes.hinted(hint), Some(target));
        let target = target?;
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

    #[test]
    fn the_route_that_takes_an_event_says_what_is_stored_of_its_bodies() {
        let routes = routes(
            "channels: {ops: {preview: true}}
routes:
- {name: a, channel: ops, bodies: drop, verbs: [delete]}
- {name: b, channel: ops, bodies: redact, verbs: [delete, create]}
- {name: c, channel: ops, verbs: [get]}
",
        );
        for (verb, bodies) in [
            ("delete", Some(Bodies::Drop)),
            ("create", Some(Bodies::Redact)),
            ("get", Some(Bodies::Keep)),
            ("list", None),
        ] {
            let text = event("ResponseComplete", verb, "pods");
            let envelope = Envelope::parse(&text).expect("readable");
            let advice = routes.advice(&envelope);
            assert_eq!(advice.map(|(_, bodies)| bodies), bodies, "{verb}");
        }
    }

    #[test]
    fn a_hint_that_means_no_route_says_nothing() {
        let routes =
            routes("channels: {ops: {preview: true}}\nroutes: [{name: a, channel: ops}]\n");
        let first = routes.hinted(Hint(1)).flatten();
        assert_eq!(first.map(|target| target.route), Some("a"));
        for unknown in [2, u16::MAX - 2, u16::MAX] {
            assert_eq!(routes.hinted(Hint(unknown)), None, "{unknown}");
        }
    }

    #[test]
    fn a_table_is_told_from_every_other() {
        let one =
            "channels: {ops: {preview: true}}\nroutes: [{name: a, channel: ops, verbs: [get]}]\n";
        let id = routes(one).id();
        assert_eq!(routes(one).id(), id);
        for (from, to) in [("get", "list"), ("name: a", "name: b"), ("ops", "dev")] {
            assert_ne!(routes(&one.replace(from, to)).id(), id, "{to}");
        }
    }
}
