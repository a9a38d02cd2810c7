//! Whether the rules before a rule leave it anything.
//!
//! Contract: what is said to be covered is: every request that an API server can see (no `/` in the names of its
//! resource and subresource) and that the later rule matches, an earlier one matches. The other way round nothing
//! is promised: of a rule that is not said to be covered there may still be nothing left.
//!
//! A rule is taken apart into pieces, each of one user, group, verb, resource, namespace or path that it names;
//! each piece must be inside one earlier rule.

use super::{GroupResources, Match, Policy};

/// A rule of more pieces is only looked at as a whole.
const PIECES_MAX: usize = 4096;

impl Policy {
    /// The earlier rules that leave nothing to this one, counted from 0; empty if something may be left.
    pub fn covered_by(&self, rule: usize) -> Vec<usize> {
        let (Some(later), Some(earlier)) = (self.rules.get(rule), self.rules.get(..rule)) else {
            return Vec::new();
        };
        let mut numbers = Vec::new();
        for piece in later.matched.pieces() {
            match earlier
                .iter()
                .position(|rule| rule.matched.includes(&piece))
            {
                Some(number) => numbers.push(number),
                None => return Vec::new(),
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

/// Each value of a list alone, or the empty list that restricts nothing.
fn each<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    match list {
        [] => vec![Vec::new()],
        list => list.iter().map(|one| vec![one.clone()]).collect(),
    }
}

impl Match {
    /// Matches that together are this one.
    fn pieces(&self) -> Vec<Self> {
        let resources: Vec<GroupResources> = self
            .resources
            .iter()
            .flat_map(|group| {
                each(&group.resources)
                    .into_iter()
                    .flat_map(move |resources| {
                        // Without resources the names are not looked at.
                        let names = match resources.as_slice() {
                            [] => vec![Vec::new()],
                            _ => each(&group.resource_names),
                        };
                        names.into_iter().map(move |resource_names| GroupResources {
                            group: group.group.clone(),
                            resources: resources.clone(),
                            resource_names,
                        })
                    })
            })
            .collect();
        let counts = [
            self.users.len(),
            self.user_groups.len(),
            self.verbs.len(),
            resources.len(),
            self.namespaces.len(),
            self.non_resource_urls.len(),
        ];
        let product = counts
            .into_iter()
            .try_fold(1_usize, |product, count| product.checked_mul(count.max(1)));
        if product.is_none_or(|product| product > PIECES_MAX) {
            return vec![self.clone()];
        }
        let mut pieces = vec![Self::default()];
        let mut split = |values: Vec<Vec<String>>, set: fn(&mut Self, Vec<String>)| {
            pieces = pieces
                .iter()
                .flat_map(|piece| {
                    values.iter().map(move |value| {
                        let mut piece = piece.clone();
                        set(&mut piece, value.clone());
                        piece
                    })
                })
                .collect();
        };
        split(each(&self.users), |piece, value| piece.users = value);
        split(each(&self.user_groups), |piece, value| {
            piece.user_groups = value;
        });
        split(each(&self.verbs), |piece, value| piece.verbs = value);
        split(each(&self.namespaces), |piece, value| {
            piece.namespaces = value;
        });
        split(each(&self.non_resource_urls), |piece, value| {
            piece.non_resource_urls = value;
        });
        let mut whole = Vec::new();
        for piece in pieces {
            for resources in each(&resources) {
                let mut piece = piece.clone();
                piece.resources = resources;
                whole.push(piece);
            }
        }
        whole
    }

    /// Whether every request that the other one matches is matched by this one. May say no where it is so.
    fn includes(&self, other: &Self) -> bool {
        is_within(&other.users, &self.users)
            && is_within(&other.user_groups, &self.user_groups)
            && is_within(&other.verbs, &self.verbs)
            && self.includes_target(other)
    }

    fn includes_target(&self, other: &Self) -> bool {
        let is_of_resources =
            |rule: &Self| !rule.namespaces.is_empty() || !rule.resources.is_empty();
        if is_of_resources(self) {
            let is_covered = |wanted: &GroupResources| {
                let mut groups = self.resources.iter();
                groups.any(|group| group.includes(wanted))
            };
            return is_of_resources(other)
                && is_within(&other.namespaces, &self.namespaces)
                && (self.resources.is_empty()
                    || (!other.resources.is_empty() && other.resources.iter().all(is_covered)));
        }
        if self.non_resource_urls.is_empty() {
            return true;
        }
        let is_covered = |wanted: &String| {
            let mut patterns = self.non_resource_urls.iter();
            patterns.any(|pattern| includes_path(pattern, wanted))
        };
        !is_of_resources(other)
            && !other.non_resource_urls.is_empty()
            && other.non_resource_urls.iter().all(is_covered)
    }
}

/// Whether a list that restricts to one of its values is at least as strict as another one.
fn is_within(inner: &[String], outer: &[String]) -> bool {
    outer.is_empty() || (!inner.is_empty() && inner.iter().all(|value| outer.contains(value)))
}

impl GroupResources {
    fn includes(&self, other: &Self) -> bool {
        if self.group != "*" && self.group != other.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        // All of a group is what `*` is of it, whatever its names are.
        if other.resources.is_empty() {
            return self.resource_names.is_empty()
                && self.resources.iter().any(|pattern| pattern == "*");
        }
        is_within(&other.resource_names, &self.resource_names)
            && other.resources.iter().all(|wanted| {
                let mut patterns = self.resources.iter();
                patterns.any(|pattern| includes_resource(pattern, wanted))
            })
    }
}

fn includes_resource(pattern: &str, wanted: &str) -> bool {
    if pattern == "*" || pattern == wanted {
        return true;
    }
    // A pattern that is wanted is inside of nothing else.
    if wanted == "*" || wanted.starts_with("*/") || wanted.ends_with("/*") {
        return false;
    }
    match wanted.split_once('/') {
        None => pattern.strip_suffix("/*") == Some(wanted),
        Some((resource, subresource)) if !subresource.is_empty() => {
            pattern.strip_suffix("/*") == Some(resource)
                || pattern.strip_prefix("*/") == Some(subresource)
        }
        Some(_) => false,
    }
}

fn includes_path(pattern: &str, wanted: &str) -> bool {
    let prefix = |path: &str| {
        path.ends_with('*')
            .then(|| path.trim_end_matches('*').len())
    };
    match (prefix(pattern), prefix(wanted)) {
        (None, None) => pattern == wanted,
        (None, Some(_)) => false,
        (Some(length), None) => wanted.starts_with(&pattern[..length]),
        // `/a*` is in `/a*` and in `/*`; a path that itself ends with * is among those it stands for.
        (Some(length), Some(wanted_length)) => {
            wanted[..wanted_length].starts_with(&pattern[..length])
        }
    }
}
