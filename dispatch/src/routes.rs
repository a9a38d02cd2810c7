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

use auditrelay_audit::{Event, Matcher, Severity, redact::Bodies};
use auditrelay_config::{Config, RateConfig};
use auditrelay_store::Hint;

use crate::route_index::RouteIndex;

const DEFAULT: Hint = Hint(0);
/// Of the first route; the others follow.
const FIRST_ROUTE: usize = 1;
/// The table has more routes than hints have numbers: look again.
const UNKNOWN: Hint = Hint(u16::MAX);
/// Routes that have a number come before this.
const NOBODY: Hint = Hint(u16::MAX - 1);

/// More open routes than this are not told by a hint.
const OPEN_MAX: usize = 16;

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
    /// Empty: matching events go nowhere.
    channels: Vec<String>,
    severity: Severity,
    continues: bool,
    rate: Option<RateConfig>,
    audit_id_reused: bool,
    matcher: Matcher,
    bodies: Bodies,
}

impl Route {
    /// Whether those behind it have to be asked whatever it says.
    fn is_open(&self) -> bool {
        self.continues || self.rate.is_some() || self.audit_id_reused
    }
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

/// What the table makes of an event, as far as the event alone decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched {
    /// There are no routes: the default channel.
    Default,
    /// Routes that match, by number and in order; all but the last are open. None: nobody wants it.
    Routes(Vec<usize>),
}

/// What the table cannot know of an event.
pub trait Conditions {
    /// Whether its audit ID and stage were another event's before.
    fn is_reused(&self) -> bool;
    /// Whether it is one too many for the rate of a route. Asking counts it.
    fn is_too_many(&mut self, route: usize, rate: &RateConfig) -> bool;
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate<'a> {
    /// No channel hears of it; the route that says so, if one does.
    Filtered(Option<&'a str>),
    /// Each channel once, at the highest severity that one of its routes asks for.
    Told(Vec<Target<'a>>),
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
            channels: route.channel.iter().map(ToString::to_string).collect(),
            severity: route.severity,
            continues: route.continues,
            rate: route.rate.clone(),
            audit_id_reused: route.audit_id_reused,
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

    /// Which routes match the event.
    pub fn matched(&self, event: &Event<'_>) -> Matched {
        if self.routes.is_empty() && event.envelope.is_told_by_default() {
            return Matched::Default;
        }
        let told = event.envelope.is_told_by_default();
        let mut numbers = Vec::new();
        self.index.candidates(event, |number| {
            let route = &self.routes[*number];
            let is_asked = told || !route.matcher.stages.is_empty() || route.channels.is_empty();
            let matches = is_asked && route.matcher.matches(event);
            if matches {
                numbers.push(*number);
            }
            matches && !route.is_open()
        });
        Matched::Routes(numbers)
    }

    /// What becomes of an event that these routes match.
    pub fn fate(&self, matched: &Matched, conditions: &mut impl Conditions) -> Fate<'_> {
        let Matched::Routes(numbers) = matched else {
            return Fate::Told(vec![self.default_target()]);
        };
        let mut told: Vec<Target<'_>> = Vec::new();
        for number in numbers {
            let route = &self.routes[*number];
            let too_many = route
                .rate
                .as_ref()
                .is_none_or(|rate| conditions.is_too_many(*number, rate));
            if !too_many || (route.audit_id_reused && !conditions.is_reused()) {
                continue;
            }
            if route.channels.is_empty() && told.is_empty() {
                return Fate::Filtered(Some(&route.name));
            }
            for channel in &route.channels {
                let target = Target {
                    channel,
                    severity: route.severity,
                    route: &route.name,
                };
                // `Severity` is ordered from critical on.
                match told.iter_mut().find(|one| one.channel == target.channel) {
                    Some(one) if target.severity < one.severity => *one = target,
                    Some(_) => {}
                    None => told.push(target),
                }
            }
            if !route.continues {
                break;
            }
        }
        if told.is_empty() {
            Fate::Filtered(None)
        } else {
            Fate::Told(told)
        }
    }

    /// The hint of an event, and what the routes that match want stored of its bodies: the least that one of them
    /// wants. `None`: nobody wants the event, whatever else is known of it.
    pub fn advice(&self, event: &Event<'_>) -> Option<(Hint, Bodies)> {
        match self.matched(event) {
            Matched::Default => Some((DEFAULT, Bodies::Keep)),
            Matched::Routes(numbers) => {
                let routes = || numbers.iter().map(|number| &self.routes[*number]);
                let telling = routes().filter(|route| !route.channels.is_empty());
                let bodies = telling.map(|route| route.bodies).max();
                bodies.map(|bodies| (self.hint(&numbers), bodies))
            }
        }
    }

    /// Mixed radix: which open routes match, and which route ends it, if one does.
    fn hint(&self, numbers: &[usize]) -> Hint {
        let last = numbers
            .last()
            .filter(|number| !self.routes[**number].is_open());
        let mut code = 0_usize;
        for (place, number) in self.open().take(OPEN_MAX).enumerate() {
            code |= usize::from(numbers.contains(&number)) << place;
        }
        let code = code * (self.routes.len() + 1) + last.unwrap_or(&self.routes.len());
        let is_said = self.open().nth(OPEN_MAX).is_none();
        let hint = u16::try_from(FIRST_ROUTE + code).map(Hint).ok();
        hint.filter(|hint| is_said && hint.0 < NOBODY.0)
            .unwrap_or(UNKNOWN)
    }

    /// What a hint of this table says. `None` means that it says nothing, and the event has to be read.
    pub fn hinted(&self, hint: Hint) -> Option<Matched> {
        let code = match hint {
            DEFAULT => return Some(Matched::Default),
            UNKNOWN => return None,
            NOBODY => return Some(Matched::Routes(Vec::new())),
            Hint(hint) => usize::from(hint) - FIRST_ROUTE,
        };
        let radix = self.routes.len() + 1;
        let (open, last) = (code / radix, code % radix);
        let matching = self.open().enumerate();
        let matching = matching.filter(|(place, _)| *place < OPEN_MAX && open >> place & 1 == 1);
        let mut numbers: Vec<usize> = matching.map(|(_, number)| number).collect();
        if last < self.routes.len() {
            numbers.push(last);
        }
        // What no such table says.
        let is_sound = numbers.is_sorted() && self.hint(&numbers) == hint && !numbers.is_empty();
        is_sound.then_some(Matched::Routes(numbers))
    }

    fn open(&self) -> impl Iterator<Item = usize> {
        let routes = self.routes.iter().enumerate();
        routes
            .filter(|(_, route)| route.is_open())
            .map(|(number, _)| number)
    }

    /// Where the event goes if it is alone: no rate is passed, and its audit ID is its own.
    pub fn targets(&self, event: &Event<'_>) -> Vec<Target<'_>> {
        struct Alone;
        impl Conditions for Alone {
            fn is_reused(&self) -> bool {
                false
            }
            fn is_too_many(&mut self, _: usize, _: &RateConfig) -> bool {
                false
            }
        }
        match self.fate(&self.matched(event), &mut Alone) {
            Fate::Told(targets) => targets,
            Fate::Filtered(_) => Vec::new(),
        }
    }

    fn default_target(&self) -> Target<'_> {
        Target {
            channel: &self.default_channel,
            severity: Severity::Info,
            route: "",
        }
    }

    /// Where the relay's own notices go.
    pub fn default_channel(&self) -> &str {
        &self.default_channel
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use auditrelay_audit::Envelope;
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
        let event = Event {
            cluster: "test",
            envelope: &envelope,
        };
        let matched = routes.matched(&event);
        // Whoever decides, the decision is the same.
        if let Some((hint, _)) = routes.advice(&event) {
            assert_eq!(routes.hinted(hint), Some(matched));
        }
        let targets = routes.targets(&event);
        assert!(targets.len() < 2);
        let target = targets.first()?;
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
            let advice = routes.advice(&Event {
                cluster: "test",
                envelope: &envelope,
            });
            assert_eq!(advice.map(|(_, bodies)| bodies), bodies, "{verb}");
        }
    }

    #[test]
    fn a_hint_that_means_no_route_says_nothing() {
        let routes =
            routes("channels: {ops: {preview: true}}\nroutes: [{name: a, channel: ops}]\n");
        assert_eq!(routes.hinted(Hint(1)), Some(Matched::Routes(vec![0])));
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
