//! What is not the overview: one channel, and the help.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph, Wrap},
};

use super::{NAME_CHARS_MAX, TEXT_CHARS_MAX, look::Look};
use crate::{
    health::bytes,
    output,
    status::{self, Report},
    top::app::App,
};

pub(super) fn channel(frame: &mut Frame<'_>, area: Rect, app: &App, report: &Report, look: Look) {
    let order = status::order(report);
    let Some((name, one)) = order.get(app.selected()) else {
        return;
    };
    let state = status::state(report, one);
    let row = |key: &str, value: String| Line::raw(format!("  {key:<16}{value}"));
    let now = report.now_unix_ms;
    let mut lines = vec![
        Line::from(vec![
            Span::raw(format!("  {:<16}", "state")),
            Span::styled(state, look.state(state)),
        ]),
        row(
            "waiting",
            format!(
                "{}, {}",
                output::count(one.waiting, "delivery"),
                bytes(one.waiting_bytes)
            ),
        ),
        row("oldest", status::oldest(one)),
    ];
    for (severity, backlog) in &one.backlog {
        let text = format!(
            "{}, the oldest for {}",
            backlog.events,
            status::short(backlog.oldest_age_seconds)
        );
        lines.push(row(&format!("  {}", output::line(severity, 12)), text));
    }
    lines.push(row("delivered", output::count(one.delivered, "event")));
    lines.push(row("dead letters", one.dead.to_string()));
    lines.push(row("dropped", one.dropped.to_string()));
    lines.push(row("held by mutes", one.muted.to_string()));
    if let Some(lane) = &one.lane {
        lines.push(row("since", status::ago(now, lane.since_unix_ms)));
        lines.push(row("doing", status::next(now, lane)));
        lines.push(row("last delivery", status::last_delivery(now, Some(lane))));
        let (posts, messages) = (lane.posts, lane.messages);
        lines.push(row(
            "since the start",
            format!("{messages} messages accepted, {posts} posts tried"),
        ));
        if let Some(error) = &lane.last_error {
            let about = format!("{} ({})", status::ago(now, error.at_unix_ms), error.outcome);
            lines.push(row("last error", about));
            lines.push(Line::raw(format!(
                "  {}",
                output::line(&error.reason, TEXT_CHARS_MAX)
            )));
        }
    }
    let title = format!(" {} ", output::line(name, NAME_CHARS_MAX));
    let block = Block::new().borders(Borders::TOP).title(title);
    frame.render_widget(
        Paragraph::new(lines)
            .wrap(Wrap { trim: false })
            .block(block),
        area,
    );
}

pub(super) fn help(frame: &mut Frame<'_>, area: Rect) {
    let text = "
  q, Esc       back; from the overview, q quits      Ctrl-C  quit
  ↑ ↓, k j     select a channel                      g G     the first, the last
  Enter        all of the selected channel           p       pause, and go on

  received   events that were acknowledged to API servers, a second
  delivered  events that a channel took, a second
  state      open: it posts. holding: it waits and tries again by itself.
             parked: the channel or its token is broken, and needs a person.
  oldest     for how long the oldest that waits was received
  last       when the channel last took a message

  auditrelay status prints the same once; --json for scripts.
  auditrelay dead list, ledger, mute list say more.";
    let block = Block::new().borders(Borders::TOP).title(" help ");
    frame.render_widget(Paragraph::new(text).block(block), area);
}
