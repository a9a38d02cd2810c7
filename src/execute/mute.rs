//! Mutes: beginning one, listing them, ending one.
//!
//! Invariant: a mute neither begins nor ends in silence. Who, what, until when and why stands in the default channel
//! and in those that it may keep something from, in the commit that begins it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use auditrelay_config::{Config, MatchConfig};
use auditrelay_dispatch::escape::clean;
use auditrelay_store::{Engine, MUTE_WORDS_BYTES_MAX, MUTES_MAX, Mute, MuteEnd, NewMute, Queue};
use tokio::sync::mpsc;

use super::{Context, Stop, tell};
use crate::{
    mute::{AUTHOR_CHARS_MAX, LASTS_MS_MAX, REASON_CHARS_MAX, restriction},
    output::{duration, time},
    request::{AskedMute, Line, Outcome},
    when::now_unix_ms,
};

/// The channels and routes that there are.
pub(crate) struct Places {
    default_channel: String,
    channels: BTreeSet<String>,
    /// By route.
    told: BTreeMap<String, Vec<String>>,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        let channels = |names: &[auditrelay_config::ChannelName]| {
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let routes = config.routes.iter();
        let of_people = config
            .channels
            .iter()
            .filter(|(_, one)| one.plain_url.is_none());
        let channels_of_people = of_people.map(|(name, _)| name);
        Self {
            default_channel: config.default_channel.to_string(),
            // Nothing is told at a dead man's switch but that the relay is alive.
            channels: channels_of_people.map(ToString::to_string).collect(),
            told: routes
                .map(|route| (route.name.to_string(), channels(&route.channel)))
                .collect(),
        }
    }

    /// Who hears that a mute of these channels and routes begins: the default channel, and wherever it may keep
    /// something from.
    fn concerned(&self, channels: &[String], routes: &[String]) -> Vec<String> {
        let is_asked = |route: &String| routes.is_empty() || routes.contains(route);
        let of_routes = self.told.iter().filter(|(route, _)| is_asked(route));
        let of_routes = of_routes.flat_map(|(_, channels)| channels);
        let concerned = match channels.is_empty() {
            true => of_routes.collect::<BTreeSet<_>>(),
            false => channels.iter().collect(),
        };
        let others = concerned
            .into_iter()
            .filter(|name| **name != self.default_channel);
        std::iter::once(&self.default_channel)
            .chain(others)
            .cloned()
            .collect()
    }

    fn check(&self, channels: &[String], routes: &[String]) -> Result<(), Stop> {
        let unknown = channels.iter().find(|name| !self.channels.contains(*name));
        if let Some(name) = unknown {
            return Err(no_such("channel", name, self.channels.iter()));
        }
        match routes.iter().find(|name| !self.told.contains_key(*name)) {
            Some(name) => Err(no_such("route", name, self.told.keys())),
            None => Ok(()),
        }
    }
}

fn no_such<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Stop {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let name = clean(name, 64);
    Stop::Because(match known.is_empty() {
        true => format!("there are no {what}s; leave --{what} out"),
        false => format!(
            "there is no {what} {name:?}; there are: {}",
            known.join(", ")
        ),
    })
}

fn places(context: &Context) -> Result<Arc<Places>, Stop> {
    let because = || Stop::Because("the channels are not known here".to_owned());
    let today = context.today().ok_or_else(because)?;
    Ok(today.places)
}

pub(super) async fn add(
    context: &Context,
    asked: AskedMute,
    out: &mpsc::Sender<Line>,
) -> Result<Outcome, Stop> {
    let places = places(context)?;
    places.check(&asked.channels, &asked.routes)?;
    let author = words("the author", &asked.author, AUTHOR_CHARS_MAX)?;
    let reason = words("the reason", &asked.reason, REASON_CHARS_MAX)?;
    if !(1..=LASTS_MS_MAX).contains(&asked.lasts_ms) {
        let text = "a mute lasts at most 30 days; begin another one then";
        return Err(Stop::Because(text.to_owned()));
    }
    let matches = MatchConfig::parse(&asked.matches, "the mute")
        .map_err(|error| Stop::Because(clean(&error.to_string(), 500)))?;
    let is_all = matches.is_everything() && asked.channels.is_empty() && asked.routes.is_empty();
    if is_all && !asked.all_events {
        let text = "it would hold back every event of every channel; say which, or --all-events";
        return Err(Stop::Because(text.to_owned()));
    }
    let begun_unix_ms = now_unix_ms();
    let mute = NewMute {
        author,
        reason,
        matches: matches.stored(),
        words: matches.words(MUTE_WORDS_BYTES_MAX),
        channels: asked.channels,
        routes: asked.routes,
        begun_unix_ms,
        until_unix_ms: begun_unix_ms.saturating_add(asked.lasts_ms),
    };
    mute.check()
        .map_err(|too_long| Stop::Because(format!("this mute cannot be kept: {too_long}")))?;
    let announcement = announcement(&mute);
    let told = places.concerned(&mute.channels, &mute.routes);
    let added = context.queue.add_mute(mute, announcement, told).await?;
    let Some(mute) = added else {
        return Err(Stop::Because(format!(
            "{MUTES_MAX} mutes are active, more are not; end one first (auditrelay mute list, mute expire)"
        )));
    };
    let NewMute { author, reason, .. } = &mute.asked;
    tracing::warn!(mute = mute.id, author, reason, "a command began a mute");
    tell(out, Line::Mute(Box::new(mute))).await?;
    Ok(Outcome::Listed)
}

pub(super) async fn list(queue: &Engine, out: &mpsc::Sender<Line>) -> Result<Outcome, Stop> {
    for mute in queue.mutes() {
        tell(out, Line::Mute(Box::new(mute))).await?;
    }
    Ok(Outcome::Listed)
}

pub(super) async fn expire(
    context: &Context,
    id: u64,
    author: String,
    reason: String,
    out: &mpsc::Sender<Line>,
) -> Result<Outcome, Stop> {
    let places = places(context)?;
    let by = words("the author", &author, AUTHOR_CHARS_MAX)?;
    let reason = match reason.trim() {
        "" => String::new(),
        reason => words("the reason", reason, REASON_CHARS_MAX)?,
    };
    let end = MuteEnd {
        at_unix_ms: now_unix_ms(),
        by: Some(by),
        reason,
    };
    let tell_too = vec![places.default_channel.clone()];
    let ended: Option<Mute> = context.queue.end_mute(id, end, tell_too).await?;
    let Some(mute) = ended else {
        return Ok(Outcome::Unknown);
    };
    tracing::warn!(mute = id, author, "a command ended a mute");
    tell(out, Line::Mute(Box::new(mute))).await?;
    Ok(Outcome::Listed)
}

/// Somebody's words: there, and not too many.
fn words(what: &str, text: &str, chars_max: usize) -> Result<String, Stop> {
    let text = text.trim();
    let problem = match text.chars().count() {
        0 => "is empty; say it, others will read it".to_owned(),
        count if count > chars_max => format!("is longer than {chars_max} characters"),
        _ => return Ok(text.to_owned()),
    };
    Err(Stop::Because(format!("{what} {problem}")))
}

/// What channels hear, behind the mute's number.
fn announcement(mute: &NewMute) -> String {
    let quoted = |text: &str| format!("“{}”", text.replace(['“', '”'], "\""));
    format!(
        "{} holds back {}{} until {} ({}), since {}",
        quoted(&mute.author),
        mute.words,
        restriction(mute),
        time(mute.until_unix_ms),
        duration(mute.until_unix_ms - mute.begun_unix_ms),
        quoted(&mute.reason),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Places {
            default_channel: "ops".to_owned(),
            channels: BTreeSet::from(["ops", "sec", "dev"].map(str::to_owned)),
            told: BTreeMap::from([
                ("secrets".to_owned(), names(&["sec", "ops"])),
                ("deploys".to_owned(), names(&["dev"])),
                ("noise".to_owned(), Vec::new()),
            ]),
        }
    }

    #[test]
    fn whoever_may_miss_something_is_told_and_the_default_channel_always() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        for (channels, routes, told) in [
            (&[][..], &[][..], &["ops", "dev", "sec"][..]),
            (&["dev"], &[], &["ops", "dev"]),
            (&["ops"], &[], &["ops"]),
            (&[], &["secrets"], &["ops", "sec"]),
            (&[], &["noise"], &["ops"]),
            (&["dev"], &["secrets"], &["ops", "dev"]),
        ] {
            let concerned = places().concerned(&names(channels), &names(routes));
            assert_eq!(concerned, names(told), "{channels:?} {routes:?}");
        }
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is() {
        let check = |channels: &[&str], routes: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
            match places().check(&names(channels), &names(routes)) {
                Err(Stop::Because(why)) => why,
                _ => String::new(),
            }
        };
        assert_eq!(check(&["ops"], &["noise"]), "");
        assert!(check(&["opps"], &[]).contains("there are: dev, ops, sec"));
        assert!(check(&[], &["x"]).contains("there are: deploys, noise, secrets"));
    }
}
