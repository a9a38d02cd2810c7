//! The key that raw bytes are sealed to.

mod common;

use common::line;

#[test]
fn raw_bytes_are_sealed_to_a_key_or_not_kept() {
    let expected = "expected null to keep no raw bytes, or the public key to seal them to, as \
                    `auditrelay quarantine keygen` prints it (x25519: and 64 hexadecimal digits)";
    let hidden = "text that is not shown, as it may be a secret key";
    let secret = format!("x25519-secret:{}", "a5".repeat(32));
    for (value, found) in [
        ("true", "boolean `true`"),
        ("false", "boolean `false`"),
        (&secret, hidden),
    ] {
        let refusal = format!("a.yaml: queue.quarantine_raw: found {found}, {expected}");
        assert_eq!(
            line(&format!("queue: {{quarantine_raw: {value}}}")),
            refusal
        );
    }
}
