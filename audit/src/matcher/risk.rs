//! What a request's body would grant or run, by name, so that a route can weigh it.
//!
//! Looked for in the bodies of `create`, `update` and `patch`: what grants, in roles and bindings; what runs, in all
//! others, wherever it stands in them, so that templates of deployments and of custom resources count. A fragment
//! (merge patch) and a JSON patch say it for the part that they touch.
//!
//! Invariants:
//! * whoever writes a body cannot hide in it. Of a member that stands there twice both count; what a JSON patch
//!   copies or moves into such a place counts; and a body that cannot be read has every risk: it is no JSON, nested
//!   deeper than 127, longer than 4 MiB, or the API server cut it off (`audit.k8s.io/truncated`);
//! * one pass without a tree: memory is bounded by the longest string, time by the length.
//!
//! Where the API server logs no body (level Metadata) there is nothing to find.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::event::{Envelope, Level, ObjectRef, Text};

/// Kubernetes' own limit is 3 MiB on the wire.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Kubernetes: written when the API server cut the bodies off.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// Something that a body would grant or run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// A binding to the cluster role `cluster-admin`, by what the body says or by the binding's own name.
    ClusterAdmin,
    /// A role's rule with `*` among its verbs, resources or API groups.
    Wildcard,
    /// A role's rule with the verb `bind`, `escalate` or `impersonate`.
    Escalation,
    /// A container that is privileged; on Windows one of the host's processes.
    Privileged,
    /// A volume that is a path of the host.
    HostPath,
    /// A pod in the host's namespaces of processes, memory or network.
    HostNamespaces,
}

impl Risk {
    const GRANTED: Risks = Self::ClusterAdmin
        .alone()
        .and(Self::Wildcard.alone())
        .and(Self::Escalation.alone());
    const RUN: Risks = Self::Privileged
        .alone()
        .and(Self::HostPath.alone())
        .and(Self::HostNamespaces.alone());

    const fn alone(self) -> Risks {
        Risks(1 << self as u8)
    }
}

/// A set of risks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Risks(u8);

impl Risks {
    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has_any_of(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Whether the request's body has one of the risks.
pub(super) fn has_any(wanted: &[Risk], event: &Envelope<'_>) -> bool {
    let Some(object) = &event.object_ref else {
        return false;
    };
    if !matches!(&*event.verb, "create" | "update" | "patch") {
        return false;
    }
    let possible = possible(object);
    let wanted = wanted
        .iter()
        .filter(|risk| possible.has_any_of(risk.alone()));
    let wanted = wanted.fold(Risks::default(), |all, risk| all.and(risk.alone()));
    if wanted == Risks::default() {
        return false;
    }
    let found = match event.request_object {
        Some(body) => found_in(body, possible).map(|found| found.and(of_name(object))),
        None => is_cut_off(event).then_some(possible),
    };
    found.is_some_and(|found| found.has_any_of(wanted))
}

/// What can be found in bodies of such an object.
fn possible(object: &ObjectRef<'_>) -> Risks {
    match &*object.resource {
        "roles" | "clusterroles" | "rolebindings" | "clusterrolebindings" => Risk::GRANTED,
        _ => Risk::RUN,
    }
}

/// What the object's name says. Kubernetes: the binding `cluster-admin` is to the role of that name; the API server
/// sees to it whenever it starts, and no request can give a binding another role. So whoever is added to its
/// subjects is made an admin, though the body of such a patch names no role.
fn of_name(object: &ObjectRef<'_>) -> Risks {
    let is_admin = &*object.resource == "clusterrolebindings" && &*object.name == "cluster-admin";
    match is_admin {
        true => Risk::ClusterAdmin.alone(),
        false => Risks::default(),
    }
}

fn is_cut_off(event: &Envelope<'_>) -> bool {
    !matches!(event.level, Level::None | Level::Metadata) && event.annotation(TRUNCATED).is_some()
}

fn found_in(body: &str, possible: Risks) -> Option<Risks> {
    let mut found = Found::default();
    let read = if body.len() > BODY_BYTES_MAX {
        None
    } else if body.starts_with('[') {
        patch(body, &mut found)
    } else if body.starts_with('{') {
        found.read(body, Place::Other)
    } else {
        None
    };
    Some(read.map_or(possible, |()| found.risks()))
}

/// One operation of a JSON patch (RFC 6902).
#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(borrow)]
    op: Text<'a>,
    #[serde(borrow)]
    path: Text<'a>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

fn patch(body: &str, found: &mut Found) -> Option<()> {
    let operations: Vec<Operation<'_>> = serde_json::from_str(body).ok()?;
    for operation in operations {
        let names = operation.path.split('/').skip(1);
        let place = names.fold(Place::Other, |place, name| {
            place.in_patch(&name.replace("~1", "/").replace("~0", "~"))
        });
        match (&*operation.op, operation.value) {
            ("test" | "remove", _) => {}
            ("add" | "replace", Some(value)) => found.read(value.get(), place)?,
            // The value is one that the object has elsewhere.
            _ => found.note_unknown(place),
        }
    }
    Some(())
}

/// What the names above a value say of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Other,
    Verbs,
    /// Resources or API groups of a role.
    Named,
    RoleRef,
    RoleName,
    RoleKind,
    Privileged,
    HostNamespace,
    HostPath,
    /// The path itself: what tells such a volume from the schema of one.
    HostPathPath,
}

impl Place {
    fn within(self, name: &str) -> Self {
        match (self, name) {
            (Self::RoleRef, "name") => Self::RoleName,
            (Self::RoleRef, "kind") => Self::RoleKind,
            (Self::HostPath, "path") => Self::HostPathPath,
            (_, "verbs") => Self::Verbs,
            (_, "resources" | "apiGroups") => Self::Named,
            (_, "roleRef") => Self::RoleRef,
            (_, "privileged" | "hostProcess") => Self::Privileged,
            (_, "hostPID" | "hostIPC" | "hostNetwork") => Self::HostNamespace,
            (_, "hostPath") => Self::HostPath,
            _ => Self::Other,
        }
    }

    /// The same of a name in the path of a JSON patch: in a list it is a number, which Kubernetes' library
    /// for patches also takes as `-1` or `+0`. So whatever is below a list of words is in it.
    fn in_patch(self, name: &str) -> Self {
        match (self, self.within(name)) {
            (Self::Verbs | Self::Named, Self::Other) => self,
            (_, place) => place,
        }
    }
}

#[derive(Default)]
struct Found {
    risks: Risks,
    names_admin: bool,
    is_cluster_role: bool,
    is_role: bool,
}

impl Found {
    fn risks(&self) -> Risks {
        if self.names_admin && (self.is_cluster_role || !self.is_role) {
            self.risks.and(Risk::ClusterAdmin.alone())
        } else {
            self.risks
        }
    }

    fn read(&mut self, json: &str, place: Place) -> Option<()> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let value = Value { found: self, place };
        value.deserialize(&mut reader).ok()?;
        reader.end().ok()
    }

    fn note(&mut self, risk: Risk) {
        self.risks = self.risks.and(risk.alone());
    }

    fn note_text(&mut self, place: Place, text: &str) {
        match (place, text) {
            (Place::Verbs | Place::Named, "*") => self.note(Risk::Wildcard),
            (Place::Verbs, "bind" | "escalate" | "impersonate") => self.note(Risk::Escalation),
            (Place::RoleName, "cluster-admin") => self.names_admin = true,
            (Place::RoleKind, "ClusterRole") => self.is_cluster_role = true,
            (Place::RoleKind, "Role") => self.is_role = true,
            (Place::HostPathPath, _) => self.note(Risk::HostPath),
            _ => {}
        }
    }

    fn note_true(&mut self, place: Place) {
        match place {
            Place::Privileged => self.note(Risk::Privileged),
            Place::HostNamespace => self.note(Risk::HostNamespaces),
            _ => {}
        }
    }

    fn note_unknown(&mut self, place: Place) {
        match place {
            Place::Verbs => {
                self.note(Risk::Wildcard);
                self.note(Risk::Escalation);
            }
            Place::Named => self.note(Risk::Wildcard),
            Place::RoleRef | Place::RoleName => self.note(Risk::ClusterAdmin),
            Place::HostPath | Place::HostPathPath => self.note(Risk::HostPath),
            Place::Privileged | Place::HostNamespace => self.note_true(place),
            Place::Other | Place::RoleKind => {}
        }
    }
}

/// A value that is read and not kept.
struct Value<'f> {
    found: &'f mut Found,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    // serde_json refuses more than 127 levels, so this recursion is bounded.
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if value {
            self.found.note_true(self.place);
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.found.note_text(self.place, text);
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { found, place } = self;
        while list.next_element_seed(Value { found, place })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { found, place } = self;
        while let Some(name) = map.next_key::<Text<'de>>()? {
            let place = place.within(&name);
            map.next_value_seed(Value { found, place })?;
        }
        Ok(())
    }
}
