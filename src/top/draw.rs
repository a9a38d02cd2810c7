//! How it looks. 80 columns and 24 lines are enough; what is smaller shows what fits, from the top.

mod look;
mod pages;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table, TableState, Wrap},
};

use super::app::{App, View};
use look::Look;
use pages::{channel, help};

use crate::{
    health::bytes,
    output,
    status::{self, Channel, Report},
};

const NAME_CHARS_MAX: usize = 40;
const TEXT_CHARS_MAX: usize = 300;
/// Lines for what needs a person.
const ATTENTION_LINES_MAX: u16 = 3;
const ERROR_LINES: u16 = 4;

pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let look = Look(app.has_colour);
    let [title, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(app, look)), title);
    match (app.view, &app.report) {
        (View::Help, _) => help(frame, body),
        (_, None) => {
            let text = match &app.silent {
                Some((why, _)) => {
                    format!("\n  {}; trying again …", output::line(why, TEXT_CHARS_MAX))
                }
                None => "\n  asking the relay …".to_owned(),
            };
            frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), body);
        }
        (View::Overview, Some(report)) => overview(frame, body, app, report, look),
        (View::Channel, Some(report)) => channel(frame, body, app, report, look),
    }
    let words = match app.view {
        View::Overview => "q quit  ↑↓ select  Enter channel  p pause  ? help",
        _ => "q back  ↑↓ select  p pause  ? help  Ctrl-C quit",
    };
    let words = format!("{words}  every {} s", app.every.as_secs());
    frame.render_widget(Paragraph::new(words).style(look.faint()), keys);
}

fn headline(app: &App, look: Look) -> Line<'static> {
    let mut spans = vec![Span::styled(
        "auditrelay ",
        Style::new().add_modifier(Modifier::BOLD),
    )];
    if let Some(report) = &app.report {
        let up = report.now_unix_ms - report.started_unix_ms.unwrap_or(report.now_unix_ms);
        spans.push(Span::raw(output::line(&report.version, 20)));
        spans.push(Span::raw(status::replica(report) + " "));
        spans.push(match report.attention.len() {
            0 => Span::styled("healthy", look.good()),
            1 => Span::styled("1 thing needs a person", look.bad()),
            more => Span::styled(format!("{more} things need a person"), look.bad()),
        });
        spans.push(Span::raw(format!(
            ", up {}, {} UTC",
            output::duration(up),
            time_of_day(report.now_unix_ms)
        )));
    }
    if app.is_paused {
        spans.push(Span::styled(
            " PAUSED",
            look.care().add_modifier(Modifier::BOLD),
        ));
    }
    if let (Some((_, since)), Some(_)) = (&app.silent, &app.report) {
        let text = format!(" NO ANSWER since {}", time_of_day(*since));
        spans.push(Span::styled(text, look.bad()));
    }
    Line::from(spans)
}

/// `03:15:29` of a Unix time in milliseconds.
fn time_of_day(unix_ms: i64) -> String {
    let time = output::time(unix_ms);
    time.get(11..19).unwrap_or(&time).to_owned()
}

fn overview(frame: &mut Frame<'_>, area: Rect, app: &App, report: &Report, look: Look) {
    let attention = attention(app, report, look);
    let lines = u16::try_from(attention.len()).unwrap_or(u16::MAX);
    let [needs, received, delivered, space, slack, channels, errors] = Layout::vertical([
        Constraint::Length(lines.min(ATTENTION_LINES_MAX)),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(ERROR_LINES + 1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(shortened(attention, look)), needs);
    let last = app.rates.back().copied().unwrap_or_default();
    let history = |of: fn(&super::app::Rate) -> f64| {
        let tenths = |rate: &super::app::Rate| (of(rate) * 10.0).round() as u64;
        app.rates.iter().map(tenths).collect::<Vec<u64>>()
    };
    rate(
        frame,
        received,
        "received ",
        last.received,
        &history(|rate| rate.received),
        look.good(),
    );
    rate(
        frame,
        delivered,
        "delivered",
        last.delivered,
        &history(|rate| rate.delivered),
        look.care(),
    );
    frame.render_widget(Paragraph::new(space_line(report, look)), space);
    frame.render_widget(Paragraph::new(slack_line(report, look)), slack);
    table(frame, channels, app, report, look);
    frame.render_widget(last_errors(report, look), errors);
}

fn attention(app: &App, report: &Report, look: Look) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some((why, _)) = &app.silent {
        let why = output::line(why, TEXT_CHARS_MAX);
        let text = format!("! {why}; trying again, what is shown is what it said last");
        lines.push(Line::styled(text, look.bad()));
    }
    for one in &report.attention {
        let about = one.channel.as_ref();
        let about = about.map(|name| output::line(name, NAME_CHARS_MAX) + ": ");
        let what = output::line(&one.what, TEXT_CHARS_MAX);
        let text = format!("! {}{what}", about.unwrap_or_default());
        lines.push(Line::styled(text, look.bad()));
    }
    lines
}

/// As many lines as there is room for; the last one says how many are left out.
fn shortened(mut lines: Vec<Line<'static>>, look: Look) -> Vec<Line<'static>> {
    let most = usize::from(ATTENTION_LINES_MAX);
    if lines.len() > most {
        let more = lines.len() - (most - 1);
        lines.truncate(most - 1);
        let text = format!("… and {more} more (auditrelay status)");
        lines.push(Line::styled(text, look.bad()));
    }
    lines
}

fn rate(frame: &mut Frame<'_>, area: Rect, name: &str, now: f64, history: &[u64], style: Style) {
    let [words, graph] =
        Layout::horizontal([Constraint::Length(24), Constraint::Min(0)]).areas(area);
    let text = format!("{name} {now:>10.1}/s");
    frame.render_widget(Paragraph::new(text), words);
    let width = usize::from(graph.width);
    let shown = &history[history.len().saturating_sub(width)..];
    frame.render_widget(Sparkline::default().data(shown).style(style), graph);
}

/// A bar of so many cells.
fn bar(part: u64, whole: u64, cells: usize) -> String {
    let part = part.min(whole) as f64 / whole.max(1) as f64;
    let full = (part * cells as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), ".".repeat(cells - full))
}

fn space_line(report: &Report, look: Look) -> Line<'static> {
    let Some(disk) = &report.disk else {
        return Line::raw("queue     not known, as no relay that leads says");
    };
    let most = disk.queue_bytes_max.unwrap_or_default();
    let is_tight = disk.queue_bytes > most / 10 * 8
        || disk
            .free_bytes
            .is_some_and(|free| free < disk.free_bytes_min * 2);
    let style = match (&report.refusing, is_tight) {
        (Some(_), _) => look.bad(),
        (None, true) => look.care(),
        (None, false) => look.good(),
    };
    let free = disk.free_bytes;
    let beside = match &report.inbox {
        Some(inbox) => format!("{} more in the inbox", bytes(inbox.bytes)),
        None if report.replica.is_some() => "in NATS".to_owned(),
        None => format!(
            "{} free on its disk",
            free.map_or("an unknown amount".to_owned(), bytes)
        ),
    };
    Line::from(vec![
        Span::raw("queue     "),
        Span::styled(bar(disk.queue_bytes, most, 20), style),
        Span::raw(format!(
            " {} of {}, {beside}",
            bytes(disk.queue_bytes),
            bytes(most)
        )),
    ])
}

/// The token that is nearest to its limit.
fn slack_line(report: &Report, look: Look) -> Line<'static> {
    let busiest = report
        .slack
        .iter()
        .max_by_key(|budget| budget.posts_last_minute);
    let Some(budget) = busiest else {
        return Line::raw("slack     nothing is posted there");
    };
    let (posts, most) = (budget.posts_last_minute, budget.messages_per_minute_max);
    let style = match posts > most / 10 * 8 {
        true => look.care(),
        false => look.good(),
    };
    let others = match report.slack.len() {
        1 => String::new(),
        tokens => format!(" (the busiest of {tokens} tokens)"),
    };
    Line::from(vec![
        Span::raw("slack     "),
        Span::styled(bar(posts, most, 20), style),
        Span::raw(format!(
            " {posts} of {most} messages in the last minute{others}"
        )),
    ])
}

fn table(frame: &mut Frame<'_>, area: Rect, app: &App, report: &Report, look: Look) {
    let titles = [
        "channel",
        "state",
        " waiting",
        " oldest",
        "       last",
        "doing / last error",
    ];
    let header = Row::new(titles).style(look.faint());
    let rows = status::order(report).into_iter().map(|(name, one)| {
        let state = status::state(report, one);
        Row::new([
            Cell::new(output::line(name, NAME_CHARS_MAX)),
            Cell::new(state).style(look.state(state)),
            Cell::new(format!("{:>8}", one.waiting)),
            Cell::new(format!("{:>7}", status::oldest(one))),
            Cell::new(format!(
                "{:>11}",
                status::last_delivery(report.now_unix_ms, one.lane.as_ref())
            )),
            Cell::new(doing(report, one)),
        ])
    });
    let widths = [
        Constraint::Min(10),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(11),
        Constraint::Percentage(40),
    ];
    let (count, names) = (app.names().len() as u64, app.selected());
    let title = format!(" {} ", output::count(count, "channel"));
    let table = Table::new(rows, widths)
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::new().borders(Borders::TOP).title(title));
    let mut state = TableState::default().with_selected(Some(names));
    frame.render_stateful_widget(table, area, &mut state);
}

/// What a lane waits for, and why, where it does not post.
fn doing(report: &Report, one: &Channel) -> String {
    let Some(lane) = &one.lane else {
        return String::new();
    };
    let next = status::next(report.now_unix_ms, lane);
    let is_open = lane.state == auditrelay_dispatch::board::LaneState::Open;
    match lane.last_error.as_ref().filter(|_| !is_open) {
        Some(error) => format!("{next}: {}", output::line(&error.reason, TEXT_CHARS_MAX)),
        None => next,
    }
}

fn last_errors(report: &Report, look: Look) -> Paragraph<'static> {
    let lines: Vec<Line<'static>> = report
        .errors
        .iter()
        .take(usize::from(ERROR_LINES))
        .map(|one| {
            let about = one.channel.as_deref().unwrap_or(&one.part);
            let times = match one.times {
                1 => String::new(),
                times => format!(" x{times}"),
            };
            Line::from(vec![
                Span::styled(time_of_day(one.at_unix_ms) + " ", look.faint()),
                Span::raw(format!(
                    "{}{times}: {}",
                    output::line(about, NAME_CHARS_MAX),
                    output::line(&one.text, TEXT_CHARS_MAX)
                )),
            ])
        })
        .collect();
    let lines = match lines.is_empty() {
        true => vec![Line::styled("none since the start", look.faint())],
        false => lines,
    };
    Paragraph::new(lines).block(Block::new().borders(Borders::TOP).title(" last errors "))
}

#[cfg(test)]
mod tests;
