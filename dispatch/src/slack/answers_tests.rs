//! The table of answers, and the page that shows it.

use std::{collections::BTreeSet, fs, path::Path};

use super::{super::table::Row, *};

#[test]
fn each_answer_has_its_action() {
    for (code, action) in [
        ("ratelimited", "later"),
        ("internal_error", "unknown"),
        ("invalid_blocks", "never"),
        ("channel_not_found", "park"),
        ("token_revoked", "park"),
        ("an_error_of_next_year", "park"),
    ] {
        assert_eq!(of_code(code, None, None).as_str(), action, "{code}");
    }
    for (status, body, action) in [
        (500, "rollup_error", "unknown"),
        (503, "<html>", "unknown"),
        (400, "invalid_payload", "never"),
        (400, "user_not_found", "park"),
        (404, "no_service", "park"),
        (404, "no_active_hooks\n", "park"),
        (410, "channel_is_archived", "park"),
        (302, "", "park"),
        (425, "", "later"),
    ] {
        assert_eq!(
            of_webhook(status, body, None).as_str(),
            action,
            "{status} {body}"
        );
    }
    assert_eq!(of_status(503, None).as_str(), "unknown");
    assert_eq!(of_status(302, None).as_str(), "park");
    let broken = |sent| {
        of_broken(Broken {
            sent,
            withheld: false,
            reason: String::new(),
        })
    };
    assert_eq!(broken(true).as_str(), "unknown");
    assert_eq!(broken(false).as_str(), "later");
    let withheld = of_broken(Broken {
        sent: false,
        withheld: true,
        reason: String::new(),
    });
    assert_eq!(withheld, SendError::Withheld);
}

#[test]
fn a_rate_limit_is_told_from_what_passes_otherwise() {
    let limited = |error| matches!(error, SendError::Later { limited: true, .. });
    assert!(limited(of_code("ratelimited", None, None)));
    assert!(limited(of_rate_limit(None)));
    assert!(!limited(of_code("service_unavailable", None, None)));
}

#[test]
fn who_parks_says_what_to_do_and_which_scope_is_missing() {
    let reason = of_code("missing_scope", Some("chat:write"), None).to_string();
    assert_eq!(
        reason,
        "Slack answered missing_scope (chat:write): add the scope to the app and install it again"
    );
}

#[test]
fn retry_after_is_read_in_seconds() {
    let after = |header| match of_rate_limit(header) {
        SendError::Later { after, .. } => after,
        other => panic!("{other}"),
    };
    let told = |error| match error {
        SendError::Later { after, .. } | SendError::Unknown { after, .. } => after,
        other => panic!("{other}"),
    };
    let thirty = Some(Duration::from_secs(30));
    assert_eq!(told(of_code("rate_limited", None, Some("30"))), thirty);
    assert_eq!(told(of_status(503, Some("30"))), thirty);
    assert_eq!(after(Some("7")), Some(Duration::from_secs(7)));
    assert_eq!(after(Some("soon")), None);
    assert_eq!(after(None), None);
}

#[test]
fn no_code_stands_in_the_table_twice() {
    let codes: BTreeSet<_> = TABLE.iter().map(|row| row.code).collect();
    assert_eq!(codes.len(), TABLE.len());
    let answers: BTreeSet<_> = WEBHOOK_TABLE
        .iter()
        .map(|(status, row)| (status, row.code))
        .collect();
    assert_eq!(answers.len(), WEBHOOK_TABLE.len());
}

/// The rows of the page's tables.
fn rows() -> String {
    let mut rows = String::new();
    for row in TABLE {
        let Row {
            code,
            action,
            source,
            advice,
        } = row;
        rows.push_str(&format!(
            "| `{code}` | {} | {} | {advice} |\n",
            action.as_str(),
            source.as_str()
        ));
    }
    for (status, row) in WEBHOOK_TABLE {
        let status = if *status == 0 {
            "4xx".to_owned()
        } else {
            status.to_string()
        };
        let Row {
            code,
            action,
            source,
            advice,
        } = row;
        rows.push_str(&format!(
            "| {status} `{code}` | {} | {} | {advice} |\n",
            action.as_str(),
            source.as_str()
        ));
    }
    rows
}

#[test]
fn the_page_shows_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/slack.md");
    let page = fs::read_to_string(path).expect("the page");
    for row in rows().lines() {
        assert!(
            page.contains(row),
            "docs/slack.md lacks or has otherwise:\n{row}\nall rows:\n{}",
            rows()
        );
    }
    let is_row = |line: &&str| line.matches('|').count() == 5 && line.contains('`');
    let in_page = page.lines().filter(is_row);
    assert_eq!(
        in_page.count(),
        TABLE.len() + WEBHOOK_TABLE.len(),
        "a row that the code does not have"
    );
}
