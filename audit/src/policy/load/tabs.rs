//! Tabs where the API server's YAML reader takes none, and the one here would.

use super::{Place, Problem, tree::broken};

/// The API server's reader takes no tab where an item of a list begins; the one here would.
pub(super) fn none_after_a_dash(text: &str) -> Result<(), Box<Problem>> {
    for (number, line) in text.lines().enumerate() {
        let item = line.trim_start_matches(['-', ' ']);
        let before = &line[..line.len() - item.len()];
        if before.ends_with('-') && item.starts_with('\t') {
            let place = Place {
                line: number + 1,
                column: before.len() + 1,
            };
            let what = "a tab stands where an item of a list begins";
            return Err(broken(place, what, "write a blank in its place"));
        }
    }
    Ok(())
}
