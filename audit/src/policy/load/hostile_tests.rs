//! Text that wants to do harm, or is only broken: it gets an answer.

use proptest::prelude::*;

use super::{tests::HEAD, *};

#[test]
fn a_hostile_text_is_refused_and_costs_nothing() {
    let mut bomb = format!("{HEAD}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let one = format!("*a{}", level - 1);
        let ten = [one.as_str(); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{ten}]\n"));
    }
    let deep = format!("{HEAD}rules: {}{}", "[".repeat(200), "]".repeat(200));
    let deep_blocks: String = (0..5000)
        .map(|depth| format!("{}a:\n", " ".repeat(depth % 100)))
        .collect();
    let json = format!("{{\"a\": {}{}}}", "[".repeat(100), "]".repeat(100));
    for text in [
        bomb.as_str(),
        &deep,
        &json,
        &format!("{HEAD}a: &a [*a]"),
        &format!("{HEAD}a: [*b]"),
        &"x".repeat(POLICY_BYTES_MAX + 1),
        "",
        "# nothing\n",
        "a: b: c",
        "\t- a",
        "? [a]\n: b",
        "~: b",
        &deep_blocks,
    ] {
        let shown: String = text.chars().take(200).collect();
        let problems = load(text).expect_err(&shown);
        assert!(!problems.is_empty(), "{shown}");
    }
    for (text, bound) in [
        (&bomb, "more than 100000 values"),
        (&deep, "deeper than 32"),
        (&json, "deeper than 32"),
    ] {
        let problems = load(text).expect_err("bounded");
        assert!(problems[0].what.contains(bound), "{problems:?}");
    }
    let many = "- level: x\n".repeat(1000);
    let problems = load(&format!("{HEAD}rules:\n{many}")).expect_err("levels");
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    assert!(problems[PROBLEMS_MAX].what.contains("900 more"));
    let long = format!("{HEAD}rules: [{{level: {}}}]", "ä".repeat(1000));
    assert!(load(&long).expect_err("long")[0].what.chars().count() < 150);
}

proptest! {
    /// Pieces of policies in any order: whatever comes of it, it is an answer.
    #[test]
    fn any_text_gets_an_answer(pieces in prop::collection::vec(
        prop::sample::select(vec![
            HEAD, "rules:\n", "- level: None\n", "  users: [a]\n", "  resources:\n", "  - group: \"\"\n",
            "    resources: [pods]\n", "&a ", "*a", "<<: ", "[", "]", "{", "}", ": ", "- ", "\n", "\t", "\"", "'",
            "!!str ", "!!int ", "? ", "| ", "---\n", "...\n", "%TAG ! x\n", "\\u0041", "yes", "0x", "\u{feff}", "ä",
            ",", "#", "rules", "level", "~",
        ]),
        0..40,
    )) {
        let text = pieces.concat();
        match load(&text) {
            Ok(loaded) => prop_assert!(!loaded.policy.rules.is_empty()),
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }

    /// The same of JSON.
    #[test]
    fn any_json_gets_an_answer(pieces in prop::collection::vec(
        prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"rules\"", "\"level\"", "\"None\"", "null", "1e9", "\"\\ud800\"", " ", "\n",
            "\"\\\\\"", "\"\\\"\"", "true", "\"ä\"",
        ]),
        0..20,
    )) {
        let answer = load(&("{".to_owned() + &pieces.concat()));
        prop_assert!(answer.is_err());
    }
}
