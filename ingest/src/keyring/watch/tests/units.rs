//! Units change and break each by itself.

use super::*;

#[test]
fn a_broken_file_keeps_the_old_one_and_nothing_else() {
    const OLD: &str = "token-of-another-0001";
    const NEW: &str = "token-of-another-0002";
    let files = Files::new();
    let mut watched = files.open();
    watched.look();
    assert!(watched.lets_in(OLD));
    // While the file of one client is away, another's token is taken out, and the certificate renewed.
    fs::remove_file(files.at("token")).unwrap();
    watched.look();
    let outcome = watched.look();
    assert!(outcome.changed.is_empty(), "{outcome:?}");
    assert!(outcome.problems[0].starts_with("clients[0].token_file: "));
    watched.counts(0.0, 1.0, false);
    files.write("other-token", NEW);
    assert_eq!(watched.look(), Outcome::default());
    let other = files.at("other-token").display().to_string();
    assert_eq!(watched.look(), changed([other]));
    assert!(watched.lets_in(NEW) && !watched.lets_in(OLD));
    files.pair(&files.ca.signs(&server("two")));
    let before = watched.keyring.tls().unwrap();
    watched.look();
    assert_eq!(watched.look().changed.len(), 2);
    assert!(!Arc::ptr_eq(&before, &watched.keyring.tls().unwrap()));
    watched.counts(2.0, 1.0, false);
    // A second problem beside the first: a line for it alone, and 0 until both are mended.
    files.write("ca", "");
    watched.look();
    let ca = files.at("ca").display().to_string();
    assert_eq!(
        watched.look(),
        problem(&format!("tls.client_ca_file: {ca} is empty"))
    );
    files.write("ca", &files.ca.pem());
    watched.look();
    assert_eq!(watched.look(), mended("tls"));
    watched.counts(2.0, 2.0, false);
    files.write("token", "token-of-a-client-0001\n");
    watched.look();
    assert_eq!(watched.look(), mended("clients[0]"));
    watched.counts(2.0, 2.0, true);
}

#[test]
fn a_file_that_never_rests_keeps_no_other_from_changing() {
    let files = Files::new();
    let mut watched = files.open();
    watched.look();
    files.write("other-token", "token-of-another-0002");
    files.write("token", "token-that-changes-1");
    assert_eq!(watched.look(), Outcome::default());
    files.write("token", "token-that-changes-2");
    assert_eq!(watched.look().changed.len(), 1);
    assert!(watched.lets_in("token-of-another-0002"));
}
