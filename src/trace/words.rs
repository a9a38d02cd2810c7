//! A trace for people: one block for each event, in the order of time.

use super::found::{Again, Delivered, Fate, Searched, State, Traced};
use crate::output::{count, duration, line, time};

/// So many clusters are named.
const NAMES_MAX: usize = 20;
/// Colours of a terminal.
const BOLD: &str = "1";
const GOOD: &str = "32";
const WAITS: &str = "33";
const BAD: &str = "1;31";

/// How a line is written.
struct Page {
    text: String,
    now_unix_ms: i64,
    colour: bool,
}

/// All of them.
pub(super) fn text(
    audit_id: &str,
    events: &[Traced],
    searched: &Searched,
    now_unix_ms: i64,
    colour: bool,
) -> String {
    let mut page = Page {
        text: String::new(),
        now_unix_ms,
        colour,
    };
    let title = format!("audit ID {}", line(audit_id, 100));
    let title = page.painted(&title, BOLD);
    page.text.push_str(&format!(
        "{title}: {}\n",
        count(events.len() as u64, "event")
    ));
    for event in events {
        page.event(event, searched);
    }
    if searched.not_shown > 0 {
        let more = count(searched.not_shown, "more trace");
        page.text
            .push_str(&format!("\n{more} of this audit ID not shown\n"));
    }
    if !searched.keys_known {
        page.text.push_str(
            "\nthe key of the dedup hashes cannot be read (dedup.key_file), so events whose text is not kept are \
             not found\n",
        );
    }
    page.text
}

impl Page {
    fn painted(&self, text: &str, colour: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    fn line(&mut self, when: Option<i64>, what: &str) {
        let when = when.map_or_else(|| "-".to_owned(), |at| self.when(at));
        self.text.push_str(&format!("  {when:<40}  {what}\n"));
    }

    fn below(&mut self, what: &str) {
        self.text.push_str(&format!("  {:<40}  {what}\n", ""));
    }

    /// `2026-11-26 11:50:01 UTC (2 min ago)`.
    fn when(&self, at_unix_ms: i64) -> String {
        let age = self.now_unix_ms - at_unix_ms;
        match age < 0 {
            true => format!("{} (in {})", time(at_unix_ms), duration(-age)),
            false => format!("{} ({} ago)", time(at_unix_ms), duration(age)),
        }
    }

    fn event(&mut self, event: &Traced, searched: &Searched) {
        let stage = self.painted(&event.stage, BOLD);
        let level = match &event.level {
            Some(level) => format!(", level {level}"),
            None => String::new(),
        };
        self.text
            .push_str(&format!("\n{stage}, cluster {}{level}\n", event.cluster));
        match &event.summary {
            Some(summary) => self.text.push_str(&format!("  {summary}\n")),
            None => self.text.push_str("  its text is not kept\n"),
        }
        if let Some(at) = event.happened_unix_ms {
            self.line(Some(at), "happened");
        }
        self.received(event);
        self.again(&event.again, searched.running);
        if event.audit_id_reused {
            self.below(
                "another event of this cluster has the same audit ID and stage: each is told",
            );
        }
        if event.contents.len() > 1 {
            let contents = count(event.contents.len() as u64, "content");
            self.below(&format!(
                "stands for {contents} that differ only in what is redacted"
            ));
        }
        self.fate(event);
        for delivery in &event.deliveries {
            self.delivery(delivery, searched.running);
        }
        for held in &event.held_back {
            let what = match event.fate {
                Fate::NotKept => "by today's routes muted",
                _ => "muted",
            };
            let what = self.painted(what, WAITS);
            let (channel, mute) = (line(&held.channel, 64), held.mute);
            self.below(&format!(
                "channel {channel}: {what} by mute {mute} of {}: {}",
                held.author, held.reason
            ));
        }
        self.today(event);
    }

    fn received(&mut self, event: &Traced) {
        let Some(received) = event.received else {
            return self.below("received: longer ago than the dedup window reaches");
        };
        let block = received.block;
        match (received.received_unix_ms, received.routed_unix_ms) {
            (Some(at), None) => self.line(Some(at), &format!("received, in block {block}")),
            (Some(at), Some(routed)) if routed - at < 1_000 => {
                self.line(
                    Some(at),
                    &format!("received, in block {block}, and routed at once"),
                );
            }
            (Some(at), Some(routed)) => {
                self.line(Some(at), &format!("received, in block {block}"));
                self.line(Some(routed), "routed");
            }
            (None, routed) => self.line(routed, &format!("routed, received in block {block}")),
        }
    }

    fn again(&mut self, again: &Again, running: bool) {
        match (again.times, again.first_unix_ms, again.last_unix_ms) {
            (Some(0), _, _) => {}
            (Some(times), first, last) => {
                let times = count(times, "time");
                let first = first.filter(|first| Some(*first) != last);
                let first = first.map_or_else(String::new, |at| format!(", first at {}", time(at)));
                self.line(
                    last,
                    &format!(
                        "sent again, {times} in all{first}: a duplicate, which is not told again"
                    ),
                );
            }
            (None, _, _) if running => {
                self.below("whether it was sent again before the relay's last start is not known");
            }
            (None, _, _) => {
                self.below("whether it was sent again is not known: the relay is stopped");
            }
        }
    }

    fn fate(&mut self, event: &Traced) {
        let (what, colour) = match event.fate {
            Fate::Routed => return,
            Fate::WaitsToBeRouted => ("waits to be routed", WAITS),
            Fate::Filtered => ("filtered", BAD),
            Fate::Muted => ("muted: every channel that was to hear of it", WAITS),
            Fate::NotKept => ("what became of it is not kept", BAD),
        };
        let what = self.painted(what, colour);
        match event.why.as_str() {
            "" => self.below(&what),
            why => self.below(&format!("{what}: {why}")),
        }
    }

    fn delivery(&mut self, delivery: &Delivered, running: bool) {
        let by = match delivery.route.as_str() {
            "" => "the default channel".to_owned(),
            route => format!("by route {}", line(route, 64)),
        };
        let copy = match (&delivery.meant_for, delivery.replayed) {
            (Some(channel), _) => format!(
                ", in place of channel {}, which could not be served",
                line(channel, 64)
            ),
            (None, true) => ", replayed".to_owned(),
            (None, false) => String::new(),
        };
        let channel = line(&delivery.channel, 64);
        let severity = delivery.severity.as_str();
        let whose = format!("channel {channel} ({severity}, {by}{copy})");
        let (when, colour, what, more) = told(&delivery.state, running);
        let what = self.painted(&what, colour);
        match when {
            Some(at) => self.line(Some(at), &format!("{whose}: {what}")),
            None => self.below(&format!("{whose}: {what}")),
        }
        for one in more {
            self.below(&format!("  {one}"));
        }
    }

    /// Said where it is not what the deliveries say already.
    fn today(&mut self, event: &Traced) {
        let Some(today) = &event.today else { return };
        let is_same = |one: &Delivered| {
            let (channel, severity) = (&one.channel, one.severity.as_str());
            let by = match one.route.as_str() {
                "" => "the default channel".to_owned(),
                route => format!("by route {route}"),
            };
            today.end.contains(&format!("{channel} ({severity}, {by})"))
        };
        let is_copy = |one: &&Delivered| one.replayed || one.meant_for.is_some();
        let mut originals = event
            .deliveries
            .iter()
            .filter(|one| !is_copy(one))
            .peekable();
        let is_known = originals.peek().is_some() && originals.all(is_same);
        if !is_known && event.why != today.end {
            self.below(&format!("today's routes: {}", today.end));
        }
    }
}

/// When, in which colour, what, and what else of a delivery.
type Said = (Option<i64>, &'static str, String, Vec<String>);

fn told(state: &State, running: bool) -> Said {
    let (when, colour, what) = match state {
        State::Waiting { .. } | State::BeingPosted { .. } => waits(state, running),
        State::Posted {
            message,
            at_unix_ms,
            events,
            ..
        } => {
            let with = match events {
                0 | 1 => String::new(),
                events => format!(
                    ", which stands for {} (auditrelay events --message {message})",
                    count(*events, "event")
                ),
            };
            let what = format!("posted in message {message}{with}");
            return (Some(*at_unix_ms), GOOD, what, link(state));
        }
        State::PostedBefore { message } => {
            let what = format!(
                "posted in message {message}, of which it is not kept any more what it stood for \
                 (queue.digest_detail_hours, queue.digest_detail_bytes_max)"
            );
            (None, GOOD, what)
        }
        State::Dead {
            message,
            reason,
            attempts,
            at_unix_ms,
        } => {
            let tries = count(u64::from(*attempts), "try");
            let what =
                format!("can never be posted: {reason} ({tries}; auditrelay dead show {message})");
            (Some(*at_unix_ms), BAD, what)
        }
        State::GivenUp { message, reason } => {
            let what = format!(
                "given up: it was dead letter {message} ({reason}), dropped by command or for want of room"
            );
            (None, BAD, what)
        }
        State::Dropped => {
            let what = "dropped for want of room (queue.channel_bytes_max)";
            (None, BAD, what.to_owned())
        }
        State::NotKept => (
            None,
            BAD,
            "queued; what became of it is not kept".to_owned(),
        ),
    };
    (when, colour, what, Vec::new())
}

/// What is not posted yet.
fn waits(state: &State, running: bool) -> (Option<i64>, &'static str, String) {
    match state {
        State::BeingPosted {
            message,
            since_unix_ms,
            lane: of,
        } => {
            let what = format!("is being posted in message {message}{}", of.words(running));
            (Some(*since_unix_ms).filter(|since| *since > 0), WAITS, what)
        }
        State::Waiting { before, lane: of } => {
            let place = match before {
                0 => "first in its line".to_owned(),
                before => format!("{} of its channel before it", count(*before, "delivery")),
            };
            (None, WAITS, format!("waits, {place}{}", of.words(running)))
        }
        _ => (None, WAITS, String::new()),
    }
}

/// Where a message is.
fn link(state: &State) -> Vec<String> {
    let State::Posted {
        slack_channel,
        ts,
        permalink,
        no_permalink,
        ..
    } = state
    else {
        return Vec::new();
    };
    if let Some(link) = permalink {
        return vec![line(link, 500)];
    }
    let mut lines = Vec::new();
    if let (Some(channel), Some(ts)) = (slack_channel, ts) {
        lines.push(format!(
            "Slack's channel {}, ts {}",
            line(channel, 64),
            line(ts, 64)
        ));
    }
    if let Some(why) = no_permalink {
        lines.push(format!("no link: {}", line(why, 300)));
    }
    lines
}

/// That there is nothing, and how far back that says anything.
pub(super) fn unknown(audit_id: &str, searched: &Searched, now_unix_ms: i64) -> String {
    let window = match searched.window_from_unix_ms {
        Some(from) => format!(
            "keys of what was received back to {} ({} ago)",
            time(from),
            duration(now_unix_ms - from)
        ),
        None => "no keys of what was received".to_owned(),
    };
    let window = match searched.keys_known {
        true => window,
        false => "no key of the dedup hashes, which cannot be read (dedup.key_file)".to_owned(),
    };
    let retained = match searched.retain_hours {
        0 => "nothing that was routed (queue.retain_hours is 0)".to_owned(),
        hours => format!(
            "what was routed for {} (queue.retain_hours)",
            count(hours, "hour")
        ),
    };
    format!(
        "audit ID {} is not known here, in no cluster of {}: it was never received, or longer ago than is kept. The \
         relay keeps {window} (dedup.window_seconds), what messages told for {} (queue.digest_detail_hours) or less \
         (queue.digest_detail_bytes_max), {retained}, \
         and what waits or is dead; what could not be read has no audit ID (auditrelay quarantine list)",
        line(audit_id, 100),
        names(&searched.clusters),
        count(searched.detail_hours, "hour"),
    )
}

fn names(clusters: &[String]) -> String {
    let shown = clusters.iter().take(NAMES_MAX);
    let shown: Vec<String> = shown.map(|name| line(name, 63)).collect();
    match clusters.len().saturating_sub(NAMES_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
