//! Each event of a digest: as replies in its thread, or as a file.
//!
//! Contract: the same members make the same replies, so that posting them can go on after a crash where it
//! stopped, by index. Every reply is within Slack's limits (`render.rs`); what does not fit into all of them is
//! counted in the last one. A file has a line for each member, clean, without tabs or breaks of the event's own.

use auditrelay_audit::{Envelope, Severity};
use auditrelay_store::{Delivery, EventDelivery, Notice};

use crate::{
    blocks::{DateStyle, Piece, cost, list, rich_text, section, text},
    change::Change,
    escape::{clean, escaped_len},
    message::Message,
    render::{BLOCK_BYTES_MAX, fallback, members_line, note, notice_words},
    sentence,
};

const ROWS_MAX: usize = 100;
const ROW_CHARS_MAX: usize = 200;
/// For the lines around the rows.
const FRAME_BYTES: usize = 300;

/// Thread replies that tell every member of a digest, or as many as `replies_max` of them hold.
/// `names_members` says whether `auditrelay events` can show the rest.
pub fn replies(
    members: &[(Severity, Delivery)],
    message_id: u64,
    replies_max: usize,
    names_members: bool,
) -> Vec<Message> {
    let mut replies = Vec::new();
    let mut told = 0;
    while told < members.len() && replies.len() < replies_max {
        let first = told;
        let mut bytes = FRAME_BYTES;
        let mut rows = Vec::new();
        let mut lines = Vec::new();
        for (severity, member) in &members[first..] {
            let pieces = row(*severity, member);
            let row = section(&pieces);
            bytes += cost(&row);
            if (bytes > BLOCK_BYTES_MAX && !rows.is_empty()) || rows.len() == ROWS_MAX {
                break;
            }
            lines.push(text(&pieces));
            rows.push(row);
        }
        told += rows.len();
        let title = format!("{} to {told} of {}", first + 1, members.len());
        let mut blocks = vec![note(&title), rich_text(&[list(rows)])];
        lines.insert(0, title);
        if told < members.len() && replies.len() + 1 == replies_max {
            let rest = members.len() - told;
            let how = if names_members {
                format!(": {}", members_line(message_id))
            } else {
                String::new()
            };
            let more = format!("and {rest} more, for which there is no room here{how}");
            blocks.push(note(&more));
            // Where only the text can be shown it must not be what is cut.
            lines.insert(1, more);
        }
        replies.push(Message::new(fallback(&lines), blocks, "details"));
    }
    replies
}

fn row(severity: Severity, member: &Delivery) -> Vec<Piece> {
    let mark = format!("{} ", sentence::emoji(severity));
    let event = match member {
        Delivery::Event(event) => event,
        Delivery::Notice(notice) => return vec![Piece::plain(mark), Piece::plain(said(notice))],
    };
    let Ok(envelope) = Envelope::parse(&event.json) else {
        let cluster = clean(&event.cluster, 63);
        return vec![Piece::plain(format!(
            "{mark}[{cluster}] {}",
            sentence::UNREADABLE
        ))];
    };
    let line = line(event, &envelope);
    let date = Piece::date(&envelope.stage_timestamp, DateStyle::DayAndTime);
    if date.text.is_empty() {
        return vec![Piece::plain(mark), Piece::plain(line)];
    }
    vec![Piece::plain(mark), date, Piece::plain(format!(" {line}"))]
}

fn line(event: &EventDelivery, envelope: &Envelope<'_>) -> String {
    // Bodies of thousands of events are not read for their lines.
    let brief = sentence::brief(event, envelope, &Change::default());
    let line = format!("[{}] {brief}", clean(&event.cluster, 63));
    if line.chars().count() > ROW_CHARS_MAX || escaped_len(&line) > 4 * ROW_CHARS_MAX {
        return clean(&line, ROW_CHARS_MAX);
    }
    line
}

fn said(notice: &Notice) -> String {
    if notice.cluster.is_empty() {
        return format!("auditrelay: {}", notice_words("", &notice.text, 0));
    }
    let (cluster, text) = (clean(&notice.cluster, 63), clean(&notice.text, 150));
    format!("[{cluster}] auditrelay: {} events {text}", notice.events)
}

/// All members as a text file: severity, time, what happened, from where, and the audit ID, with tabs between.
pub fn listing(members: &[(Severity, Delivery)]) -> String {
    let mut out = String::new();
    for (severity, member) in members {
        let severity = severity.as_str();
        let row = match member {
            Delivery::Notice(notice) => format!("{severity}\t\t{}\t\t", said(notice)),
            Delivery::Event(event) => match Envelope::parse(&event.json) {
                Err(_) => format!(
                    "{severity}\t\t[{}] {}\t\t",
                    clean(&event.cluster, 63),
                    sentence::UNREADABLE
                ),
                Ok(envelope) => {
                    let time = clean(&envelope.stage_timestamp, 40);
                    let address = envelope
                        .source_ips
                        .last()
                        .map(|ip| clean(ip, 45))
                        .unwrap_or_default();
                    let id = clean(&envelope.audit_id, 64);
                    format!(
                        "{severity}\t{time}\t{}\t{address}\t{id}",
                        line(event, &envelope)
                    )
                }
            },
        };
        out.push_str(&row);
        out.push('\n');
    }
    out
}

#[cfg(test)]
#[path = "details_tests.rs"]
mod tests;
