//! Messages per minute as a picture: a panel a channel, with a line where its pace ends. Readable on white and on
//! dark.
//!
//! Contract: names are written as text of XML, so none of them can be anything else.

use super::report::{ChannelReport, Report};
use crate::output::clock;

const WIDTH: i64 = 860;
const PANEL: i64 = 150;
const LEFT: i64 = 60;
const RIGHT: i64 = 20;
const TOP: i64 = 40;
const PLOT: i64 = 96;

pub(super) fn picture(report: &Report) -> String {
    let height = PANEL * report.channels.len().max(1) as i64 + 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"Messages per minute by channel\">\n<style>text{{font:12px sans-serif;fill:#333}}\
         .t{{font-weight:bold}}.b{{fill:#2b6cb0}}.d{{fill:#dd6b20}}.a{{stroke:#999}}.l{{stroke:#c53030;\
         stroke-dasharray:5 4}}.bg{{fill:#fff}}@media (prefers-color-scheme:dark){{text{{fill:#ddd}}\
         .bg{{fill:#16181d}}.b{{fill:#63a4e8}}.d{{fill:#f6ad55}}.l{{stroke:#fc8181}}}}</style>\n\
         <rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    for (number, channel) in report.channels.iter().enumerate() {
        svg.push_str(&panel(channel, report.minutes, PANEL * number as i64));
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(channel: &ChannelReport, (first, last): (i64, i64), y: i64) -> String {
    let minutes = (last - first + 1).max(1);
    let worst = channel.worst_minute_messages;
    // Where the pace is far above what is posted, the line would leave nothing to see.
    let shows_budget = channel.budget_per_minute <= worst.max(1) * 4;
    let most = match shows_budget {
        true => worst.max(channel.budget_per_minute),
        false => worst,
    };
    let most = most.max(1) as i64;
    let (bottom, width) = (y + TOP + PLOT, WIDTH - LEFT - RIGHT);
    let height = |messages: u64| messages as i64 * PLOT / most;
    let budget = match shows_budget {
        true => String::new(),
        false => format!(" (its pace: {})", channel.budget_per_minute),
    };
    let mut svg = format!(
        "<text class=\"t\" x=\"{LEFT}\" y=\"{}\">{}: messages per minute, digests in orange{budget}</text>\n\
         <line class=\"a\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{}\" y2=\"{bottom}\"/>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most}</text>\n<text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">0</text>\n\
         <text x=\"{LEFT}\" y=\"{}\">{}</text>\n<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
        y + 24,
        escaped(&channel.channel),
        LEFT + width,
        LEFT - 6,
        y + TOP + 10,
        LEFT - 6,
        bottom + 14,
        clock(first * 60_000),
        LEFT + width,
        bottom + 14,
        clock(last * 60_000),
    );
    let bar = (width / minutes).max(1);
    for minute in &channel.minutes {
        let x = LEFT + (minute.unix_minute - first) * width / minutes;
        for (class, messages) in [("b", minute.messages), ("d", minute.digests)] {
            let high = height(messages);
            if high > 0 {
                let top = bottom - high;
                svg.push_str(&format!(
                    "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{bar}\" height=\"{high}\"/>\n"
                ));
            }
        }
    }
    if shows_budget {
        let at = bottom - height(channel.budget_per_minute);
        svg.push_str(&format!(
            "<line class=\"l\" x1=\"{LEFT}\" y1=\"{at}\" x2=\"{}\" y2=\"{at}\"/>\n",
            LEFT + width
        ));
    }
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
