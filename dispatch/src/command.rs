//! The command of an exec, and what else a session's address says. The API server logs it at every level. Its
//! arguments are masked when the event is received, and once more before they are shown: what an earlier
//! version stored, or what was cut off here, is masked all the same.

use auditrelay_audit::{
    Envelope,
    mask::{MASK, Masker},
};

use crate::{
    escape::{clean, quoted},
    sentence::parameters,
};

const ARGUMENTS_MAX: usize = 64;
const ARGUMENT_CHARS_MAX: usize = 2_000;
const COMMAND_CHARS_MAX: usize = 300;

/// What a session was opened with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The command as one line; empty where there is none.
    pub command: String,
    /// Something in the command looks like a secret.
    pub masked: bool,
    /// The container; empty where the pod's default was meant.
    pub container: String,
}

impl Session {
    /// Reads the address of an exec or attach.
    pub fn of(event: &Envelope<'_>) -> Self {
        let subresource = event
            .object_ref
            .as_ref()
            .map_or("", |object| object.subresource.as_str());
        if !matches!(subresource, "exec" | "attach") {
            return Self::default();
        }
        let mut session = Self::default();
        let mut masker = Masker::default();
        let (mut command, mut left) = (String::new(), ARGUMENTS_MAX);
        for (name, value) in parameters(event).take(4 * ARGUMENTS_MAX) {
            match &*name {
                // What is far beyond what can be shown need not be read.
                "command" if left == 0 || command.len() > 8 * COMMAND_CHARS_MAX => {
                    command.push_str(if command.ends_with('…') { "" } else { " …" });
                }
                "command" => {
                    left -= 1;
                    command.push_str(if command.is_empty() { "" } else { " " });
                    command.push_str(&argument(&mut masker, &value));
                }
                "container" => session.container = quoted(&value, 63),
                _ => {}
            }
        }
        session.command = clean(&command, COMMAND_CHARS_MAX);
        // A whole argument that was masked at the door points to nothing any more.
        session.masked = masker.masked || command.contains(MASK);
        session
    }
}

/// An argument as a shell would take it.
fn argument(masker: &mut Masker, argument: &str) -> String {
    let start: String = argument.chars().take(ARGUMENT_CHARS_MAX).collect();
    let masked = masker.argument(&start);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,[]".contains(&byte);
    if masked == MASK || (!masked.is_empty() && masked.bytes().all(is_plain)) {
        return masked;
    }
    if masked.contains('\'') && !masked.contains(['"', '$', '`', '\\', '!']) {
        return format!("\"{masked}\"");
    }
    format!("'{}'", masked.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::mask::address::{Reader, masked};

    use super::*;

    fn session(query: &str) -> Session {
        let json = format!(
            r#"{{"level":"Metadata","stage":"ResponseStarted","verb":"get","requestURI":"/api/v1/namespaces/x/pods/p/exec?{query}","objectRef":{{"resource":"pods","subresource":"exec"}}}}"#
        );
        Session::of(&Envelope::parse(&json).expect("an event"))
    }

    #[test]
    fn the_command_is_told_as_it_would_be_typed() {
        let told =
            session("command=sh&command=-c&command=ls+%2Fvar+%7C+wc&container=app&stdin=true");
        assert_eq!(told.command, "sh -c 'ls /var | wc'");
        assert_eq!((told.container.as_str(), told.masked), ("app", false));
    }

    #[test]
    fn a_secret_in_it_is_masked_and_said_to_be() {
        let told =
            session("command=mysql&command=--password&command=hunter2&command=-e&command=select+1");
        assert_eq!(told.command, "mysql --password [masked] -e 'select 1'");
        assert!(told.masked);
        let told = session("command=sh&command=-c&command=PGPASSWORD%3D%27a+b%27+psql+-c+%27x%27");
        assert_eq!(told.command, "sh -c \"PGPASSWORD=[masked] psql -c 'x'\"");
    }

    #[test]
    fn what_was_masked_at_the_door_is_told_the_same_way() {
        for query in [
            "command=mysql&command=--password&command=hunter2&command=-e&command=select+1",
            "command=echo&command=ghp_hunter2",
            "command=curl&command=https%3A%2F%2Fa%3Ahunter2%40x.example",
        ] {
            let masked = masked(&format!("/exec?{query}"), Reader::Kubernetes).expect("masked");
            let (_, stored) = masked.address.split_once('?').expect("a query");
            assert!(!stored.contains("hunter2"), "{stored}");
            assert_eq!(session(stored), session(query));
            assert!(session(stored).masked, "{stored}");
        }
    }

    #[test]
    fn however_long_it_is_it_stays_short() {
        let told = session(&"command=x&".repeat(100_000));
        assert!(
            told.command.chars().count() <= COMMAND_CHARS_MAX && told.command.ends_with('…'),
            "{}",
            told.command
        );
        let one = session(&format!("command={}", "ab1".repeat(300_000)));
        assert_eq!(one.command, MASK);
    }
}
