//! A request as the rules of a policy see it.

use std::borrow::Cow;

use crate::event::{Envelope, ObjectRef, Text};

/// What a rule is matched against. Kubernetes: `authorizer.Attributes`.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The authenticated user, not the impersonated one.
    pub user: &'a str,
    /// The user's groups.
    pub groups: &'a [Text<'a>],
    /// The verb.
    pub verb: &'a str,
    /// What is asked for; `None` of a request that is not about a resource.
    pub object: Option<&'a ObjectRef<'a>>,
    /// The object's name in the URL; empty where it has none.
    pub name: &'a str,
    /// The URL's path, unescaped.
    pub path: Cow<'a, str>,
}

impl<'a> Request<'a> {
    /// The request of an event, its object called as the event calls it: what is created has the name that it
    /// was given.
    pub fn of(event: &'a Envelope<'a>) -> Self {
        let object = event.object_ref.as_ref();
        Self {
            user: &event.user.username,
            groups: &event.user.groups,
            verb: &event.verb,
            object,
            name: object.map_or("", |object| object.name.as_str()),
            path: event.served_path(),
        }
    }

    /// The same as the API server's policy saw it: by the name in the URL, which is empty when an object is created.
    pub fn at_the_api_server(event: &'a Envelope<'a>) -> Self {
        let request = Self::of(event);
        let is_creation = request.verb == "create"
            && request
                .object
                .is_some_and(|object| object.subresource.is_empty());
        Self {
            name: if is_creation { "" } else { request.name },
            ..request
        }
    }
}
