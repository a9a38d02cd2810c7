//! Which channel an event goes to. Rules are tried in order, the first match decides.
//!
//! A route that names no stages takes a request at the one stage at which it is told by default, so
//! that a route never tells one request twice by accident. Without any route every request goes to the
//! default channel. With routes, what none of them matches is filtered.
//!
//! It is decided in two steps. Which routes match an event needs nothing but its envelope, so it is found where the
//! event is read anyway, and travels with it as a [`Hint`](auditrelay_store::Hint). What becomes of it may need
//! more, of which only the router knows: how many there were before, and whether its audit ID was another's. A route
//! that asks for more, and one that lets others have their say, is *open*: those behind it are asked too.
//!
//! A hint is worth something only to the very table that gave it: [`Routes::id`] differs for every other table and
//! every other version of the relay.

use std::{
    cmp::Ordering,
    hash::{DefaultHasher, Hash, Hasher},
};

use auditrelay_audit::{Event, HashKey, Matcher, Severity, redact::Bodies};
use auditrelay_config::{Config, WATCHDOG};
use smallvec::SmallVec;

use crate::{rates::Rate, route_index::RouteIndex, watchdog::Own};

mod hint;

/// The routing table.
#[derive(Debug, Clone)]
pub struct Routes {
    id: u64,
    default_channel: String,
    routes: Vec<Route>,
    /// The numbers of those that are open.
    open: Vec<usize>,
    index: RouteIndex,
    /// The route of the watchdog's own events, behind all that are configured, and asked before them.
    watchdog: Option<(usize, Own)>,
}

#[derive(Debug, Clone)]
struct Route {
    name: String,
    /// Empty: matching events go nowhere.
    channels: Vec<String>,
    severity: Severity,
    continues: bool,
    rate: Option<Rate>,
    audit_id_reused: bool,
    matcher: Matcher,
    bodies: Bodies,
}

impl Route {
    /// Whether those behind it have to be asked whatever it says.
    fn is_open(&self) -> bool {
        self.continues || self.rate.is_some() || self.audit_id_reused
    }

    /// Adds its channels, each once. A delivery has the name of the most urgent route that asks for it; of several
    /// that are as urgent, of the one that does not continue: it says more about the event than what is looked at in
    /// passing.
    fn tell<'a>(&'a self, told: &mut Targets<'a>) {
        for channel in &self.channels {
            let Some(one) = told.iter_mut().find(|one| one.channel == channel) else {
                told.push(Target {
                    channel,
                    severity: self.severity,
                    route: &self.name,
                    also: SmallVec::new(),
                });
                continue;
            };
            // `Severity` is ordered from critical on. Those before all continue.
            let names_it = match self.severity.cmp(&one.severity) {
                Ordering::Less => true,
                Ordering::Equal => !self.continues,
                Ordering::Greater => false,
            };
            if names_it {
                one.also.push(std::mem::replace(&mut one.route, &self.name));
                one.severity = self.severity;
            } else {
                one.also.push(&self.name);
            }
        }
    }
}

/// Where an event goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The channel's name.
    pub channel: &'a str,
    /// How urgent it is there.
    pub severity: Severity,
    /// The name of the route that counts; empty for the default.
    pub route: &'a str,
    /// The others that ask for the same; there are some only where a route continues.
    pub also: SmallVec<[&'a str; 1]>,
}

impl<'a> Target<'a> {
    /// All routes that ask for it, the one that counts first.
    pub fn routes(&self) -> impl Iterator<Item = &'a str> {
        std::iter::once(self.route).chain(self.also.iter().copied())
    }
}

/// What the table makes of an event, as far as the event alone decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched {
    /// There are no routes: the default channel.
    Default,
    /// Routes that match, by number and in order; all but the last are open. None: nobody wants it.
    Routes(Numbers),
}

/// Numbers of routes. Nearly always one or none.
pub type Numbers = SmallVec<[usize; 4]>;
/// Where an event goes; nearly always to one channel.
pub type Targets<'a> = SmallVec<[Target<'a>; 1]>;

/// What the table cannot know of an event.
pub trait Conditions {
    /// Whether its audit ID and stage were another event's before.
    fn is_reused(&self) -> bool;
    /// Whether it is one too many for the rate of a route. Asking counts it.
    fn is_too_many(&mut self, rate: &Rate) -> bool;
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate<'a> {
    /// No channel hears of it; the route that says so, if one does.
    Filtered(Option<&'a str>),
    /// Each channel once, at the highest severity that one of its routes asks for.
    Told(Targets<'a>),
}

impl Routes {
    /// The table of a configuration.
    pub fn new(config: &Config) -> Self {
        let routes = config.routes.iter().map(|route| Route {
            name: route.name.to_string(),
            channels: route.channel.iter().map(ToString::to_string).collect(),
            severity: route.severity,
            continues: route.continues,
            rate: Rate::of(route),
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
            open: (0..routes.len())
                .filter(|number| routes[*number].is_open())
                .collect(),
            default_channel,
            routes,
            watchdog: None,
        }
    }

    /// The same for a relay with this hash key: where the configuration has a watchdog, its events go to its
    /// channel, and to no route of the configuration. They are critical, so that a storm does not hold back what
    /// says that it is told.
    pub fn of_relay(config: &Config, key: &HashKey) -> Self {
        let mut routes = Self::new(config);
        let Some(channel) = config.watchdog.channel() else {
            return routes;
        };
        let mut id = DefaultHasher::new();
        let own = Own::new(key);
        (routes.id, channel, own.id()).hash(&mut id);
        routes.id = id.finish();
        routes.watchdog = Some((routes.routes.len(), own));
        routes.routes.push(Route {
            name: WATCHDOG.to_owned(),
            channels: vec![channel.to_owned()],
            severity: Severity::Critical,
            continues: false,
            rate: None,
            audit_id_reused: false,
            matcher: Matcher::default(),
            bodies: Bodies::Keep,
        });
        routes
    }

    /// Whether these are the watchdog's own.
    pub(crate) fn is_watchdogs(&self, matched: &Matched) -> bool {
        match (matched, &self.watchdog) {
            (Matched::Routes(numbers), Some((own, _))) => numbers.as_slice() == [*own],
            _ => false,
        }
    }

    /// Whether all that is told goes to the default channel.
    fn is_default(&self) -> bool {
        self.routes.len() == usize::from(self.watchdog.is_some())
    }

    /// Names this table, with all that is in it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The routes' names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let configured = self.routes.len() - usize::from(self.watchdog.is_some());
        let routes = self.routes.iter().take(configured);
        routes.map(|route| route.name.as_str())
    }

    /// Which routes match the event.
    pub fn matched(&self, event: &Event<'_>) -> Matched {
        if let Some((number, own)) = &self.watchdog
            && own.made(event.envelope)
        {
            return Matched::Routes(Numbers::from_slice(&[*number]));
        }
        let told = event.envelope.is_told_by_default();
        if self.is_default() && told {
            return Matched::Default;
        }
        let mut numbers = Numbers::new();
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
            return Fate::Told(Targets::from_iter([self.default_target()]));
        };
        let mut told = Targets::new();
        for number in numbers {
            let route = &self.routes[*number];
            if route.audit_id_reused && !conditions.is_reused() {
                continue;
            }
            // Last, as it counts what all else lets through.
            if let Some(rate) = &route.rate
                && !conditions.is_too_many(rate)
            {
                continue;
            }
            if route.channels.is_empty() && told.is_empty() {
                return Fate::Filtered(Some(&route.name));
            }
            route.tell(&mut told);
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

    /// Whether who decides about an event has to look at it: a rate counts by what is in it.
    pub fn counts(&self, matched: &Matched) -> bool {
        let Matched::Routes(numbers) = matched else {
            return false;
        };
        let mut routes = numbers.iter().map(|number| &self.routes[*number]);
        routes.any(|route| route.rate.is_some())
    }

    /// The rates of all routes.
    pub(crate) fn rates(&self) -> impl Iterator<Item = &Rate> {
        self.routes.iter().filter_map(|route| route.rate.as_ref())
    }

    /// Where the event goes if it is alone: no rate is passed, and its audit ID is its own.
    pub fn targets(&self, event: &Event<'_>) -> Vec<Target<'_>> {
        struct Alone;
        impl Conditions for Alone {
            fn is_reused(&self) -> bool {
                false
            }
            fn is_too_many(&mut self, _: &Rate) -> bool {
                false
            }
        }
        match self.fate(&self.matched(event), &mut Alone) {
            Fate::Told(targets) => targets.into_vec(),
            Fate::Filtered(_) => Vec::new(),
        }
    }

    fn default_target(&self) -> Target<'_> {
        Target {
            channel: &self.default_channel,
            severity: Severity::Info,
            route: "",
            also: SmallVec::new(),
        }
    }

    /// Where the relay's own notices go.
    pub fn default_channel(&self) -> &str {
        &self.default_channel
    }
}

#[cfg(test)]
mod hint_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watchdog_tests;
