//! Why an item of a list is no event, in words that are safe to store and to post.
//!
//! Contract: a reason is one of a small fixed set. It quotes nothing of the item (P8), not even a
//! position: notices with the same text add up, so a position would turn a storm of unreadable events
//! into a flood of notices (P5). Where the item stood is kept beside the reason.

/// Why `Envelope::parse` refused an item that is valid JSON.
pub(crate) fn reason(error: &serde_json::Error) -> &'static str {
    // serde_json offers no kind of error beyond its category, only words. These beginnings are its
    // own (the first is `Envelope::parse`'s); what it quotes of the item comes after them, and is
    // not passed on.
    const KNOWN: [(&str, &str); 7] = [
        ("not an object", "not an object"),
        ("missing field `stage`", "missing field \"stage\""),
        ("missing field `level`", "missing field \"level\""),
        ("unknown variant", "unknown stage or level"),
        ("duplicate field", "a field occurs twice"),
        ("invalid type", "a field has the wrong type"),
        ("invalid value", "a field has a value out of range"),
    ];
    let words = error.to_string();
    KNOWN
        .into_iter()
        .find(|(beginning, _)| words.starts_with(beginning))
        .map_or("a field cannot be read", |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::Envelope;

    use super::*;

    #[test]
    fn each_way_to_be_unreadable_has_words_that_quote_nothing() {
        let reason = |text: &str| reason(&Envelope::parse(text).expect_err(text));
        let event = |rest: &str| format!(r#"{{"level":"Metadata","stage":"Panic",{rest}}}"#);
        assert_eq!(reason(r#"{"level":"None"}"#), "missing field \"stage\"");
        assert_eq!(reason(r#"{"stage":"Panic"}"#), "missing field \"level\"");
        assert_eq!(
            reason(r#"{"level":"None","stage":"hunter2"}"#),
            "unknown stage or level"
        );
        assert_eq!(
            reason(&event(r#""verb":"a","verb":"b""#)),
            "a field occurs twice"
        );
        assert_eq!(
            reason(&event(r#""user":"hunter2""#)),
            "a field has the wrong type"
        );
        assert_eq!(
            reason(&event(r#""responseStatus":{"code":5000000000}"#)),
            "a field has a value out of range"
        );
        assert_eq!(
            reason(&event(r#""verb":"\ud800""#)),
            "a field cannot be read"
        );
        assert_eq!(reason("7"), "not an object");
    }
}
