//! From nodes to the fields of a policy, with Go's idea of types.
//!
//! Kubernetes: `audit.k8s.io/v1` `Policy`, decoded as JSON is: `null` is what the field is without it, a number is
//! no text, one text is no list. Unknown fields are passed over with a warning.

use super::{
    Lines, Place, Problems, quoted,
    tree::{Entry, Map, Node, Value},
};

const API_VERSION: &str = "audit.k8s.io/v1";

/// A policy whose values have the right types, and are not looked at yet.
#[derive(Debug, Default)]
pub(super) struct RawPolicy {
    pub(super) rules: Vec<RawRule>,
    pub(super) omit_stages: Vec<String>,
    pub(super) omit_managed_fields: bool,
}

/// A rule of it.
#[derive(Debug, Default)]
pub(super) struct RawRule {
    pub(super) level: String,
    pub(super) users: Vec<String>,
    pub(super) user_groups: Vec<String>,
    pub(super) verbs: Vec<String>,
    pub(super) resources: Vec<RawResources>,
    pub(super) namespaces: Vec<String>,
    pub(super) non_resource_urls: Vec<String>,
    pub(super) omit_stages: Vec<String>,
    pub(super) omit_managed_fields: Option<bool>,
}

/// Resources of a rule.
#[derive(Debug, Default)]
pub(super) struct RawResources {
    pub(super) group: String,
    pub(super) resources: Vec<String>,
    pub(super) resource_names: Vec<String>,
}

const POLICY_FIELDS: [&str; 6] = [
    "apiVersion",
    "kind",
    "metadata",
    "rules",
    "omitStages",
    "omitManagedFields",
];
const RULE_FIELDS: [&str; 9] = [
    "level",
    "users",
    "userGroups",
    "verbs",
    "resources",
    "namespaces",
    "nonResourceURLs",
    "omitStages",
    "omitManagedFields",
];
const RESOURCES_FIELDS: [&str; 3] = ["group", "resources", "resourceNames"];

/// Decodes a document. What has the wrong type is told and left empty.
pub(super) fn policy(
    root: &Node,
    problems: &mut Problems,
    warnings: &mut Problems,
    lines: &mut Lines,
) -> RawPolicy {
    let mut decoder = Decoder {
        problems,
        warnings,
        lines,
    };
    let Value::Map(map) = &root.value else {
        let what = format!("a policy is needed, and this is {}", describe(&root.value));
        let advice = "begin with apiVersion: audit.k8s.io/v1, kind: Policy and rules";
        decoder.problems.add("", root.place, what, advice);
        return RawPolicy::default();
    };
    decoder.type_of(map, root.place);
    decoder.unknown(map, "", &POLICY_FIELDS);
    let at = At { map, path: "" };
    if let Some((node, path)) = decoder.field(&at, "metadata") {
        decoder.metadata(node, &path);
    }
    RawPolicy {
        rules: decoder.list(&at, "rules", "rules", Decoder::rule),
        omit_stages: decoder.texts(&at, "omitStages"),
        omit_managed_fields: decoder.flag(&at, "omitManagedFields").unwrap_or_default(),
    }
}

/// The fields of something, and what it is called.
struct At<'n> {
    map: &'n Map,
    path: &'n str,
}

struct Decoder<'d> {
    problems: &'d mut Problems,
    warnings: &'d mut Problems,
    lines: &'d mut Lines,
}

impl Decoder<'_> {
    fn rule(&mut self, node: &Node, path: &str) -> RawRule {
        let Some(map) = self.map(node, path, "a rule") else {
            return RawRule::default();
        };
        self.unknown(map, path, &RULE_FIELDS);
        let at = At { map, path };
        RawRule {
            level: self.text_field(&at, "level"),
            users: self.texts(&at, "users"),
            user_groups: self.texts(&at, "userGroups"),
            verbs: self.texts(&at, "verbs"),
            resources: self.list(&at, "resources", "groups and resources", Self::resources),
            namespaces: self.texts(&at, "namespaces"),
            non_resource_urls: self.texts(&at, "nonResourceURLs"),
            omit_stages: self.texts(&at, "omitStages"),
            omit_managed_fields: self.flag(&at, "omitManagedFields"),
        }
    }

    fn resources(&mut self, node: &Node, path: &str) -> RawResources {
        let Some(map) = self.map(node, path, "a group with its resources") else {
            return RawResources::default();
        };
        self.unknown(map, path, &RESOURCES_FIELDS);
        let at = At { map, path };
        RawResources {
            group: self.text_field(&at, "group"),
            resources: self.texts(&at, "resources"),
            resource_names: self.texts(&at, "resourceNames"),
        }
    }

    /// `apiVersion` and `kind`. Kubernetes reads these two without regard to case, and a `kind` that is missing is
    /// that of what it wants to read.
    fn type_of(&mut self, map: &Map, place: Place) {
        let of = |name: &str| {
            let mut others = map.entries.iter();
            map.get(name)
                .or_else(|| others.rfind(|entry| entry.key.eq_ignore_ascii_case(name)))
        };
        match of("apiVersion") {
            None => self.problems.add(
                "apiVersion",
                place,
                "is missing",
                format!("write apiVersion: {API_VERSION}"),
            ),
            Some(entry) => self.api_version(entry),
        }
        match of("kind") {
            None => self.warnings.add(
                "kind",
                place,
                "is missing, which the API server takes for Policy",
                "write kind: Policy",
            ),
            Some(Entry { value, .. }) => {
                let kind = self.text(value, "kind");
                if !self.problems.has("kind") && kind != "Policy" {
                    let what = format!("{} is no audit policy", quoted(&kind));
                    self.problems
                        .add("kind", value.place, what, "write kind: Policy");
                }
            }
        }
    }

    fn api_version(&mut self, entry: &Entry) {
        let value = &entry.value;
        let version = self.text(value, "apiVersion");
        if self.problems.has("apiVersion") || version == API_VERSION {
            return;
        }
        let what = match version.as_str() {
            "audit.k8s.io/v1beta1" | "audit.k8s.io/v1alpha1" => {
                format!("{} is not read since Kubernetes 1.24", quoted(&version))
            }
            _ => format!("{} is no version of audit policies", quoted(&version)),
        };
        let advice = format!("write apiVersion: {API_VERSION}; rules are written the same way");
        self.problems.add("apiVersion", value.place, what, advice);
    }

    /// Of no meaning to the API server, but it must be of the right types.
    fn metadata(&mut self, node: &Node, path: &str) {
        const TEXTS: [&str; 6] = [
            "name",
            "generateName",
            "namespace",
            "selfLink",
            "uid",
            "resourceVersion",
        ];
        let Some(map) = self.map(node, path, "an object's metadata") else {
            return;
        };
        let at = At { map, path };
        for name in TEXTS {
            self.text_field(&at, name);
        }
        for name in ["labels", "annotations"] {
            let Some((node, path)) = self.field(&at, name) else {
                continue;
            };
            let Some(map) = self.map(node, &path, "names with texts") else {
                continue;
            };
            for entry in &map.entries {
                self.text(&entry.value, &format!("{path}[{}]", quoted(&entry.key)));
            }
        }
    }

    fn unknown(&mut self, map: &Map, path: &str, known: &[&str]) {
        for entry in &map.entries {
            let name = entry.key.as_str();
            if known.contains(&name) {
                continue;
            }
            let shown = quoted(name);
            let shown = shown.trim_matches('"');
            let meant = known.iter().find(|known| known.eq_ignore_ascii_case(name));
            let advice = match meant {
                Some(meant) => format!("write {meant}; case counts"),
                None => format!("take it out; there are {}", known.join(", ")),
            };
            self.warnings.add(
                &child(path, shown),
                entry.place,
                "is no field here, and the API server passes it over",
                advice,
            );
        }
    }

    /// A field that is there and is not null, and what it is called. Notes where it stands.
    fn field<'n>(&mut self, at: &At<'n>, name: &str) -> Option<(&'n Node, String)> {
        let entry = at.map.get(name)?;
        let path = child(at.path, name);
        self.lines.note(&path, entry.place);
        (entry.value.value != Value::Null).then_some((&entry.value, path))
    }

    fn map<'n>(&mut self, node: &'n Node, path: &str, wanted: &str) -> Option<&'n Map> {
        match &node.value {
            Value::Map(map) => Some(map),
            Value::Null => None,
            other => {
                let what = format!("{wanted} is needed, and this is {}", describe(other));
                self.problems
                    .add(path, node.place, what, "write fields, as name: value");
                None
            }
        }
    }

    fn list<T>(
        &mut self,
        at: &At<'_>,
        name: &str,
        of: &str,
        read: impl Fn(&mut Self, &Node, &str) -> T,
    ) -> Vec<T> {
        let Some((node, path)) = self.field(at, name) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            let what = format!(
                "a list of {of} is needed, and this is {}",
                describe(&node.value)
            );
            let advice = match &node.value {
                Value::Text(text) if quoted(text).len() < 60 => format!("write [{}]", quoted(text)),
                _ => "begin each with \"- \", or write [one, two]".to_owned(),
            };
            self.problems.add(&path, node.place, what, advice);
            return Vec::new();
        };
        let items = items.iter().enumerate();
        items
            .map(|(number, item)| {
                let path = format!("{path}[{number}]");
                self.lines.note(&path, item.place);
                read(self, item, &path)
            })
            .collect()
    }

    fn texts(&mut self, at: &At<'_>, name: &str) -> Vec<String> {
        self.list(at, name, "texts", Self::text)
    }

    fn text_field(&mut self, at: &At<'_>, name: &str) -> String {
        match self.field(at, name) {
            Some((node, path)) => self.text(node, &path),
            None => String::new(),
        }
    }

    fn text(&mut self, node: &Node, path: &str) -> String {
        match &node.value {
            Value::Text(text) => return text.clone(),
            Value::Null => {}
            other => {
                let what = format!("text is needed, and this is {}", describe(other));
                let advice = match other {
                    Value::List(_) | Value::Map(_) => "write one text",
                    _ => "put it in quotes if it is meant as text",
                };
                self.problems.add(path, node.place, what, advice);
            }
        }
        String::new()
    }

    fn flag(&mut self, at: &At<'_>, name: &str) -> Option<bool> {
        let (node, path) = self.field(at, name)?;
        match &node.value {
            Value::Bool(flag) => Some(*flag),
            other => {
                let what = format!("true or false is needed, and this is {}", describe(other));
                let advice = "write true or false, without quotes";
                self.problems.add(&path, node.place, what, advice);
                None
            }
        }
    }
}

fn child(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => format!("{flag} (YAML reads yes, on, no and off so, too)"),
        Value::Number(number) => format!("a number ({})", quoted(number).trim_matches('"')),
        Value::Text(text) => format!("text ({})", quoted(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}
