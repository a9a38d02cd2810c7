//! `auditrelay`: the command line. Parses, sets up logging, calls, and turns an error into one line
//! and an exit code.
//!
//! Exit codes: 0 done; 1 the command's own "no" (a ledger that does not balance, a message that is not known, a channel that nothing
//! will be delivered to); 2 usage; 70 an error while running; 74 the queue's storage; 78 configuration.

use std::{io::Write, process::ExitCode};

use auditrelay::cli;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(failure) => {
            // Standard error may be closed; there is nobody left to tell then.
            let _ = writeln!(std::io::stderr(), "auditrelay: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
