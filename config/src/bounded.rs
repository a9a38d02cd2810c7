//! Whole numbers that carry their bounds in their type.
//!
//! Contract: a [`Bounded`] that exists lies within `MIN..=MAX`; there is no way round [`Bounded::new`].
//! Only whole numbers are read: no strings, floats or booleans stand in for one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// A whole number from `MIN` to `MAX`, both included. The field that holds it names the unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// The smallest value allowed.
    pub const MIN: u64 = MIN;
    /// The largest value allowed.
    pub const MAX: u64 = MAX;

    /// `value` if it is within the bounds.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if MIN <= value && value <= MAX {
            Some(Self(value))
        } else {
            None
        }
    }

    /// A default. Called in constants only, where a default out of bounds stops the build.
    pub(crate) const fn preset(value: u64) -> Self {
        assert!(
            MIN <= value && value <= MAX,
            "a default is out of its own bounds"
        );
        Self(value)
    }

    /// `value`, or the bound that is nearest to it.
    pub(crate) fn clamped(value: u64) -> Self {
        Self(value.clamp(MIN, MAX))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as a size in memory; a platform too small for it gets the largest it can hold.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Bounded<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Debug for Bounded<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Bounded<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(InBounds)
    }
}

struct InBounds<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for InBounds<MIN, MAX> {
    type Value = Bounded<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from {MIN} to {MAX}")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Bounded::new(value).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        let in_bounds = u64::try_from(value).ok().and_then(Bounded::new);
        in_bounds.ok_or_else(|| E::invalid_value(Unexpected::Signed(value), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::Bounded;

    #[test]
    fn only_what_is_within_the_bounds_exists() {
        let made: Vec<Option<u64>> = [0, 1, 9, 10]
            .map(|value| Bounded::<1, 9>::new(value).map(Bounded::get))
            .to_vec();
        assert_eq!(made, [None, Some(1), Some(9), None]);
        let nearest = [0, 5, 10].map(|value| Bounded::<1, 9>::clamped(value).get());
        assert_eq!(nearest, [1, 5, 9]);
    }

    #[test]
    fn nothing_but_a_whole_number_is_read() {
        let refusal = |json: &str| {
            serde_json::from_str::<Bounded<1, 9>>(json)
                .expect_err(json)
                .to_string()
        };
        let expected = "expected an integer from 1 to 9 at line 1 column";
        assert_eq!(
            refusal("10"),
            format!("invalid value: integer `10`, {expected} 2")
        );
        assert_eq!(
            refusal("-1"),
            format!("invalid value: integer `-1`, {expected} 2")
        );
        assert_eq!(
            refusal("2.0"),
            format!("invalid type: floating point `2.0`, {expected} 3")
        );
        assert_eq!(
            refusal("\"2\""),
            format!("invalid type: string \"2\", {expected} 3")
        );
        assert_eq!(
            refusal("true"),
            format!("invalid type: boolean `true`, {expected} 4")
        );
    }
}
