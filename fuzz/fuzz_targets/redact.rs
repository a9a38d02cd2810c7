//! Bytes as choices of what a secret is planted in: whatever they are, it does not come out of the redaction. The
//! judge is that of `audit/tests/redaction`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../audit/tests/redaction/planted.rs"]
mod planted;

fuzz_target!(|bytes: &[u8]| {
    if let Err(problem) = planted::judge(&planted::plant(bytes)) {
        panic!("{problem}");
    }
});
