//! What becomes of events, one after the other, as the router would decide it; and what would if what routes ask for
//! beside the event were so, or were not.

use std::collections::HashMap;

use auditrelay_config::RateConfig;
use auditrelay_dispatch::routes::{Conditions, Fate, Matched, Routes};

/// All that is asked for beside the event is so, or none of it.
pub(super) struct Assumed(pub(super) bool);

impl Conditions for Assumed {
    fn is_reused(&self) -> bool {
        self.0
    }

    fn is_too_many(&mut self, _: usize, _: &RateConfig) -> bool {
        self.0
    }
}

/// What was counted so far.
#[derive(Default)]
pub(super) struct Trial {
    counts: HashMap<usize, u64>,
}

struct Known<'a> {
    counts: &'a mut HashMap<usize, u64>,
    is_reused: bool,
}

impl Conditions for Known<'_> {
    fn is_reused(&self) -> bool {
        self.is_reused
    }

    fn is_too_many(&mut self, route: usize, rate: &RateConfig) -> bool {
        let count = self.counts.entry(route).or_default();
        *count += 1;
        *count > rate.more_than.get()
    }
}

impl Trial {
    /// What becomes of an event that these routes match.
    pub(super) fn fate<'r>(
        &mut self,
        routes: &'r Routes,
        matched: &Matched,
        is_reused: bool,
    ) -> Fate<'r> {
        let mut known = Known {
            counts: &mut self.counts,
            is_reused,
        };
        routes.fate(matched, &mut known)
    }
}
