//! Why a rule does not match a request, in words.
//!
//! Contract: there is a reason if and only if [`Match::matches`] says no, and it is of the first field, in the
//! order in which the API server looks at them, that the request does not meet. It names values of the request:
//! whoever shows it makes them harmless first.

use std::fmt;

use super::{
    GroupResources, Match, Request,
    rule::{has, matches_path, matches_resource},
};
use crate::event::ObjectRef;

/// More values of a list than these are counted, not shown.
const VALUES_SHOWN_MAX: usize = 8;

/// The first field of a rule that a request does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The field's name in a policy.
    pub field: &'static str,
    /// What the request has instead.
    pub why: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.why)
    }
}

impl Match {
    /// Why the request does not match; `None` if it does.
    pub fn mismatch(&self, request: &Request<'_>) -> Option<Mismatch> {
        let no = |field, why| Some(Mismatch { field, why });
        if !self.users.is_empty() && !has(&self.users, request.user) {
            let user = quoted(request.user);
            return no("users", format!("{user} {}", not_among(&self.users)));
        }
        if !self.user_groups.is_empty()
            && !request
                .groups
                .iter()
                .any(|group| has(&self.user_groups, group))
        {
            return no("userGroups", no_group(&self.user_groups, request));
        }
        if !self.verbs.is_empty() && !has(&self.verbs, request.verb) {
            let verb = quoted(request.verb);
            return no("verbs", format!("{verb} {}", not_among(&self.verbs)));
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let Some(object) = request.object else {
                let field = if self.resources.is_empty() {
                    "namespaces"
                } else {
                    "resources"
                };
                let path = quoted(&request.path);
                return no(field, format!("{path} is a path, not a resource"));
            };
            return self.object_mismatch(object, request.name);
        }
        if self.non_resource_urls.is_empty() {
            return None;
        }
        if let Some(object) = request.object {
            let why = format!("the request is about a resource, {}", called(object));
            return no("nonResourceURLs", why);
        }
        let mut patterns = self.non_resource_urls.iter();
        if patterns.any(|pattern| matches_path(pattern, &request.path)) {
            return None;
        }
        let why = format!(
            "{} is not covered by {}",
            quoted(&request.path),
            listed(&self.non_resource_urls)
        );
        no("nonResourceURLs", why)
    }

    fn object_mismatch(&self, object: &ObjectRef<'_>, name: &str) -> Option<Mismatch> {
        if !self.namespaces.is_empty() && !has(&self.namespaces, &object.namespace) {
            let among = not_among(&self.namespaces);
            let why = match object.namespace.as_str() {
                "" => format!("what is asked for is in no namespace (\"\"), which {among}"),
                namespace => format!("{} {among}", quoted(namespace)),
            };
            let field = "namespaces";
            return Some(Mismatch { field, why });
        }
        let mut closest: Option<(u8, String)> = None;
        for group in &self.resources {
            let (distance, why) = group.mismatch(object, name)?;
            if closest.as_ref().is_none_or(|(best, _)| distance < *best) {
                closest = Some((distance, why));
            }
        }
        // No resources at all: none was missed.
        closest.map(|(_, why)| Mismatch {
            field: "resources",
            why,
        })
    }
}

impl GroupResources {
    /// Why the object is none of these, and how far from it; the nearest reason of a list is what helps.
    fn mismatch(&self, object: &ObjectRef<'_>, name: &str) -> Option<(u8, String)> {
        if self.group != "*" && self.group != object.api_group.as_str() {
            let what = called(object);
            let (is, asked) = (group(&object.api_group), group(&self.group));
            return Some((3, format!("{what} is of {is}, not of {asked}")));
        }
        if self.resources.is_empty() {
            return None;
        }
        let mut patterns = self.resources.iter();
        if !patterns.any(|pattern| matches_resource(pattern, object)) {
            return Some(self.resource_mismatch(object));
        }
        if self.resource_names.is_empty() || has(&self.resource_names, name) {
            return None;
        }
        let names = listed(&self.resource_names);
        let why = match name {
            "" => format!(
                "the URL names no object (as in create, list and deletecollection), and resourceNames asks for {names}"
            ),
            name => format!(
                "resourceNames: {} {}",
                quoted(name),
                not_among(&self.resource_names)
            ),
        };
        Some((0, why))
    }

    fn resource_mismatch(&self, object: &ObjectRef<'_>) -> (u8, String) {
        let (resource, subresource) = (object.resource.as_str(), object.subresource.as_str());
        let what = match subresource {
            "" => quoted(resource),
            subresource => format!("{resource}/{subresource}"),
        };
        // Only a subresource is missed by its resource's own name.
        if self.resources.iter().any(|pattern| pattern == resource) {
            let why = format!(
                "{what} is a subresource, which {resource} does not cover; {what} or {resource}/* would"
            );
            return (1, why);
        }
        (2, format!("{what} {}", not_among(&self.resources)))
    }
}

fn no_group(asked: &[String], request: &Request<'_>) -> String {
    let groups: Vec<String> = request
        .groups
        .iter()
        .map(|group| group.as_str().to_owned())
        .collect();
    let asked = match asked {
        [group] => quoted(group),
        groups => format!("one of {}", listed(groups)),
    };
    match groups.as_slice() {
        [] => format!("the user is in no group, so in none that is {asked}"),
        groups => format!("none of the user's groups ({}) is {asked}", listed(groups)),
    }
}

/// `pods/exec`; with its group where that is not the core group.
fn called(object: &ObjectRef<'_>) -> String {
    let mut name = object.resource.as_str().to_owned();
    if !object.subresource.is_empty() {
        name.push('/');
        name.push_str(&object.subresource);
    }
    if !object.api_group.is_empty() {
        name.push('.');
        name.push_str(&object.api_group);
    }
    quoted(&name)
}

fn group(name: &str) -> String {
    match name {
        "" => "the core group".to_owned(),
        name => format!("group {name}"),
    }
}

/// Itself, or what stands for nothing.
fn quoted(value: &str) -> String {
    match value {
        "" => "\"\"".to_owned(),
        value => value.to_owned(),
    }
}

fn listed(values: &[String]) -> String {
    let shown: Vec<String> = values
        .iter()
        .take(VALUES_SHOWN_MAX)
        .map(|value| quoted(value))
        .collect();
    let more = values.len().saturating_sub(VALUES_SHOWN_MAX);
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn not_among(values: &[String]) -> String {
    match values {
        [value] => format!("is not {}", quoted(value)),
        values => format!("is not one of {}", listed(values)),
    }
}
