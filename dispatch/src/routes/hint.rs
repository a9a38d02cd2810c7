//! What travels with an event from the door to the router: which routes match it, in 16 bits.
//!
//! Mixed radix: a bit for each open route, and the number of the route that ends it, if one does. Not every answer
//! has a number: where the table has too many open routes for one, an event that the last of them match is
//! read again by the router. A configuration with a route that reads bodies has a number for every answer: what is
//! stored of a body may be less than what the door saw.
//!
//! Invariant: what a hint says is what the table says, or it says nothing.

use auditrelay_audit::{Event, redact::Bodies};
use auditrelay_store::Hint;

use super::{Matched, Numbers, Routes};

const DEFAULT: Hint = Hint(0);
/// Of the first answer; the others follow.
const FIRST: usize = 1;
/// There is no number for the answer: look again.
const UNKNOWN: Hint = Hint(u16::MAX);
/// Answers that have a number come before this.
const NOBODY: Hint = Hint(u16::MAX - 1);

/// So many of the open routes have a bit.
const OPEN_MAX: usize = 16;

impl Routes {
    /// The hint of an event that nobody wants and that is stored all the same, to be looked back at.
    pub const NOBODY: Hint = NOBODY;

    /// What names no table: of blocks whose events are for nobody, whatever the table is when they are routed. It may
    /// be another one by then, or that of another version.
    pub const FOR_NOBODY: u64 = u64::MAX;

    /// The hint of an event, and what the routes that match want stored of its bodies: the least that one of them
    /// wants. Of an event that nobody wants, whatever else is known of it, the hint of who takes it, if a route does.
    ///
    /// # Errors
    /// Nobody wants the event: no text of it is needed.
    pub fn at_the_door(&self, event: &Event<'_>) -> Result<(Hint, Bodies), Option<Hint>> {
        let numbers = match self.matched(event) {
            Matched::Default => return Ok((DEFAULT, Bodies::Keep)),
            Matched::Routes(numbers) => numbers,
        };
        let hint = self.hint(&numbers);
        let routes = || numbers.iter().map(|number| &self.routes[*number]);
        let telling = routes().filter(|route| !route.channels.is_empty());
        if let Some(bodies) = telling.map(|route| route.bodies).max() {
            return Ok((hint, bodies));
        }
        // Whom a rate counts has to be read by the router, and so does what no hint can say.
        if hint == UNKNOWN || routes().any(|route| route.rate.is_some()) {
            return Ok((hint, Bodies::Drop));
        }
        Err((hint != NOBODY).then_some(hint))
    }

    /// The same, of an event that somebody wants.
    pub fn advice(&self, event: &Event<'_>) -> Option<(Hint, Bodies)> {
        self.at_the_door(event).ok()
    }

    fn hint(&self, numbers: &[usize]) -> Hint {
        if numbers.is_empty() {
            return NOBODY;
        }
        let (mut open, mut last) = (0_usize, self.routes.len());
        for number in numbers {
            if !self.routes[*number].is_open() {
                last = *number;
                continue;
            }
            match self.open.iter().position(|one| one == number) {
                Some(place) if place < OPEN_MAX => open |= 1 << place,
                _ => return UNKNOWN,
            }
        }
        let code = FIRST + open * self.radix() + last;
        match u16::try_from(code).map(Hint) {
            Ok(hint) if hint.0 < NOBODY.0 => hint,
            _ => UNKNOWN,
        }
    }

    fn radix(&self) -> usize {
        self.routes.len() + 1
    }

    /// What a hint of this table says. `None` means that it says nothing, and the event has to be read.
    pub fn hinted(&self, hint: Hint) -> Option<Matched> {
        let code = match hint {
            DEFAULT => return self.is_default().then_some(Matched::Default),
            UNKNOWN => return None,
            NOBODY => return Some(Matched::Routes(Numbers::new())),
            Hint(hint) => usize::from(hint) - FIRST,
        };
        let (open, last) = (code / self.radix(), code % self.radix());
        let matching = self.open.iter().enumerate().take(OPEN_MAX);
        let matching = matching.filter(|(place, _)| open >> place & 1 == 1);
        let mut numbers: Numbers = matching.map(|(_, number)| *number).collect();
        if last < self.routes.len() {
            numbers.push(last);
        }
        // What no table says: a route behind the one that ends it, or a bit of none.
        let is_sound = numbers.is_sorted() && self.hint(&numbers) == hint;
        is_sound.then_some(Matched::Routes(numbers))
    }
}
