//! A suggestion as people read it: its rules, what they did to the log, and what is not suggested.

use super::{
    figures::{bytes, grouped, percent},
    report::Suggestion,
    told::{NAME_CHARS_MAX, WAY_CHARS_MAX, listed, losses, shown, totals},
};
use crate::output::{count, line, table};

pub(super) fn suggested(suggestion: &Suggestion, before: &str) -> String {
    let mut text = "\nSuggestion\n\n".to_owned();
    if suggestion.rules.is_empty() {
        text += "Nothing that is safe to leave out is worth a rule.\n";
    } else {
        text += &rules_of(suggestion);
        text += &totals(&suggestion.effect, before, "with the suggestion");
        text += &losses(&suggestion.effect, false);
    }
    if !suggestion.withheld.is_empty() {
        text += "Not suggested, because a policy cannot tell these apart:\n";
        for one in &suggestion.withheld {
            let what = line(&one.what, NAME_CHARS_MAX);
            let but = format!("{} of {}", grouped(one.because_events), one.because.words());
            text += &format!(
                "  {what}: would save {}, and lose {but}\n",
                bytes(one.bytes)
            );
        }
        text.push('\n');
    }
    let mut notes = Vec::new();
    if suggestion.beyond > 0 {
        notes.push(format!(
            "{} are of more different kinds than there is room for; nothing is suggested about these.",
            count(suggestion.beyond, "event")
        ));
    }
    if !suggestion.same_log {
        notes.push(
            "The log changed while it was read; the figures are those of the second reading."
                .to_owned(),
        );
    }
    if let Some(file) = &suggestion.file
        && !suggestion.rules.is_empty()
    {
        notes.push(format!(
            "Written to {}. Look through its rules before you use them: they know what this log holds, and not what \
             it will hold tomorrow.",
            shown(file)
        ));
    }
    if !notes.is_empty() {
        text += &listed("Notes", &notes);
    }
    text
}

fn rules_of(suggestion: &Suggestion) -> String {
    let whole = suggestion.effect.before.counts.bytes;
    let rows: Vec<_> = suggestion
        .rules
        .iter()
        .map(|rule| {
            vec![
                format!("rules[{}]", rule.rule),
                rule.level.as_str().to_owned(),
                grouped(rule.events),
                bytes(rule.bytes),
                percent(rule.bytes, whole),
                line(&rule.reason, WAY_CHARS_MAX),
            ]
        })
        .collect();
    let headers = [
        "rule",
        "level",
        ">events less",
        ">size less",
        ">share",
        "why",
    ];
    table(&headers, &rows) + "\n"
}
