//! What becomes of events, one after the other, as the router decides it; and what would if what routes ask for
//! beside the event were so, or were not.

use auditrelay_audit::Event;
use auditrelay_dispatch::{
    rates::{Occurrence, Rate, Rates},
    routes::{Conditions, Fate, Matched, Routes},
};

/// All that is asked for beside the event is so, or none of it.
pub(super) struct Assumed(pub(super) bool);

impl Conditions for Assumed {
    fn is_reused(&self) -> bool {
        self.0
    }

    fn is_too_many(&mut self, _: &Rate) -> bool {
        self.0
    }
}

/// What was counted so far.
#[derive(Default)]
pub(super) struct Trial {
    rates: Rates,
}

impl Trial {
    /// What becomes of an event that these routes match and that is received now, Unix time in milliseconds.
    pub(super) fn fate<'r>(
        &mut self,
        routes: &'r Routes,
        event: &Event<'_>,
        matched: &Matched,
        is_reused: bool,
        now_unix_ms: i64,
    ) -> Fate<'r> {
        let mut occurrence = Occurrence {
            event,
            received_unix_ms: now_unix_ms,
            is_reused,
            rates: &mut self.rates,
            now_unix_ms,
        };
        let fate = routes.fate(matched, &mut occurrence);
        // Nothing of this is stored.
        self.rates.pass_over();
        fate
    }
}
