//! A document as nodes that know where they stand, made from the events of a YAML parser.
//!
//! Invariants: nodes are counted where they are made, those that an alias or a merge key copies too, and no node
//! is deeper than [`DEPTH_MAX`]; so whoever walks a tree may recurse. A field that stands there twice has its
//! last value, which is what Kubernetes takes; a merge key (`<<`) sets fields at the place where it stands.

use std::collections::HashMap;

use yaml_rust2::{
    parser::{Event, Parser, Tag},
    scanner::{Marker, TScalarStyle},
};

use super::{POLICY_BYTES_MAX, Place, Problem, Problems, json, quoted, scalar, tabs};

/// Deeper than anything a policy can have.
pub(super) const DEPTH_MAX: usize = 32;
const NODES_MAX: usize = 100_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// The fields of a mapping, in their order, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map {
    pub(super) entries: Vec<Entry>,
    numbers: HashMap<String, usize>,
}

/// A field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(*self.numbers.get(key)?)
    }

    /// Sets a field; whether it was there.
    pub(super) fn set(&mut self, entry: Entry) -> bool {
        match self.numbers.get(&entry.key) {
            Some(number) => {
                self.entries[*number] = entry;
                true
            }
            None => {
                self.numbers.insert(entry.key.clone(), self.entries.len());
                self.entries.push(entry);
                false
            }
        }
    }
}

impl Node {
    fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match &self.value {
            Value::List(items) => Box::new(items.iter()),
            Value::Map(map) => Box::new(map.entries.iter().map(|entry| &entry.value)),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Nodes of the tree, and how deep it is.
    fn measure(&self) -> (usize, usize) {
        self.children().fold((1, 1), |(nodes, depth), child| {
            let (more, deeper) = child.measure();
            (nodes + more, depth.max(1 + deeper))
        })
    }
}

/// Counts what a document may have; for both its languages.
#[derive(Debug, Default)]
pub(super) struct Budget {
    nodes: usize,
}

impl Budget {
    pub(super) fn take(
        &mut self,
        nodes: usize,
        depth: usize,
        place: Place,
    ) -> Result<(), Box<Problem>> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            let what = format!("it has more than {NODES_MAX} values, with what aliases repeat");
            return Err(broken(place, what, "write a policy of fewer"));
        }
        if depth > DEPTH_MAX {
            let what = format!("it is nested deeper than {DEPTH_MAX}");
            return Err(broken(place, what, "a policy needs 5 levels; flatten it"));
        }
        Ok(())
    }
}

/// A problem for which nothing of a text can be read.
pub(super) fn broken(place: Place, what: impl Into<String>, advice: &str) -> Box<Problem> {
    Box::new(Problem {
        path: String::new(),
        place,
        what: what.into(),
        advice: advice.to_owned(),
    })
}

/// Reads the first document of a text.
pub(super) fn read(text: &str, warnings: &mut Problems) -> Result<Node, Box<Problem>> {
    let start = Place { line: 1, column: 1 };
    if text.len() > POLICY_BYTES_MAX {
        let what = format!("it is longer than {POLICY_BYTES_MAX} bytes");
        return Err(broken(start, what, "give a policy"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return json::read(text, warnings);
    }
    tabs::none_after_a_dash(text)?;
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::new(warnings);
    loop {
        let (event, marker) = parser.next_token().map_err(|error| {
            let what = format!("it is not valid YAML: {}", error.info());
            broken(
                place(error.marker()),
                what,
                "mend it there, or in the line above",
            )
        })?;
        match event {
            Event::DocumentEnd => break,
            Event::StreamEnd => return Err(broken(start, "it is empty", "give a policy")),
            event => builder.event(event, place(&marker))?,
        }
    }
    let root = builder.root.take();
    // What follows is not even parsed by the API server.
    if let Ok((Event::DocumentStart, marker)) = parser.next_token() {
        warnings.add(
            "",
            place(&marker),
            "a second document begins here, and only the first is read",
            "take it out, or put its rules into the first",
        );
    }
    root.ok_or_else(|| broken(start, "it is empty", "give a policy"))
}

fn place(marker: &Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// Makes nodes of events.
struct Builder<'w> {
    open: Vec<Open>,
    root: Option<Node>,
    /// By their numbers; those that are not complete yet are missing.
    anchors: HashMap<usize, Node>,
    budget: Budget,
    warnings: &'w mut Problems,
}

/// A collection that is not complete.
struct Open {
    place: Place,
    anchor: usize,
    what: Collection,
}

enum Collection {
    List(Vec<Node>),
    Map(Map, Option<Key>),
}

struct Key {
    name: String,
    place: Place,
    is_merge: bool,
}

impl<'w> Builder<'w> {
    fn new(warnings: &'w mut Problems) -> Self {
        Self {
            open: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            budget: Budget::default(),
            warnings,
        }
    }

    fn event(&mut self, event: Event, place: Place) -> Result<(), Box<Problem>> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.takes_a_key() {
                    return self.key(text, style, tag.is_some(), place);
                }
                self.budget.take(1, self.open.len() + 1, place)?;
                let value = scalar(text, style, tag, place)?;
                self.add(Node { place, value }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(broken(
                        place,
                        "an alias stands for what it is part of",
                        "write it out",
                    ));
                };
                let (nodes, depth) = node.measure();
                self.budget.take(nodes, self.open.len() + depth, place)?;
                let node = node.clone();
                if self.takes_a_key() {
                    let Value::Text(name) = node.value else {
                        return Err(no_key(place));
                    };
                    return self.key(name, TScalarStyle::DoubleQuoted, false, place);
                }
                self.add(node, 0)
            }
            Event::SequenceStart(anchor, _) => {
                self.begin(place, anchor, Collection::List(Vec::new()))
            }
            Event::MappingStart(anchor, _) => {
                self.begin(place, anchor, Collection::Map(Map::default(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                let value = match open.what {
                    Collection::List(items) => Value::List(items),
                    Collection::Map(map, _) => Value::Map(map),
                };
                let place = open.place;
                self.add(Node { place, value }, open.anchor)
            }
            _ => Ok(()),
        }
    }

    fn takes_a_key(&self) -> bool {
        let open = self.open.last().map(|open| &open.what);
        matches!(open, Some(Collection::Map(_, None)))
    }

    fn begin(&mut self, place: Place, anchor: usize, what: Collection) -> Result<(), Box<Problem>> {
        if self.takes_a_key() {
            return Err(no_key(place));
        }
        self.budget.take(1, self.open.len() + 1, place)?;
        self.open.push(Open {
            place,
            anchor,
            what,
        });
        Ok(())
    }

    fn key(
        &mut self,
        name: String,
        style: TScalarStyle,
        is_tagged: bool,
        place: Place,
    ) -> Result<(), Box<Problem>> {
        let is_plain = style == TScalarStyle::Plain && !is_tagged;
        if is_plain && scalar::plain(&name) == Value::Null {
            return Err(no_key(place));
        }
        let is_merge = is_plain && name == "<<";
        if let Some(Collection::Map(_, key)) = self.open.last_mut().map(|open| &mut open.what) {
            *key = Some(Key {
                name,
                place,
                is_merge,
            });
        }
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Box<Problem>> {
        if anchor > 0 {
            let (nodes, depth) = node.measure();
            self.budget.take(nodes, depth, node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.what) {
            None => self.root = Some(node),
            Some(Collection::List(items)) => items.push(node),
            Some(Collection::Map(map, key)) => {
                let Some(key) = key.take() else {
                    return Err(no_key(node.place));
                };
                if key.is_merge {
                    return merge(map, node);
                }
                let (shown, place) = (quoted(&key.name), key.place);
                let was_there = map.set(Entry {
                    key: key.name,
                    place,
                    value: node,
                });
                if was_there {
                    twice(self.warnings, &shown, place);
                }
            }
        }
        Ok(())
    }
}

/// Warns of a field that was there.
pub(super) fn twice(warnings: &mut Problems, shown: &str, place: Place) {
    warnings.add(
        "",
        place,
        format!("{shown} stands here for the second time, and this last one counts"),
        "take one of them out",
    );
}

fn no_key(place: Place) -> Box<Problem> {
    broken(
        place,
        "the name of a field must be text",
        "write a name before the colon",
    )
}

/// What `<<` does: sets the fields of a mapping, or of several of which the first counts most.
fn merge(map: &mut Map, node: Node) -> Result<(), Box<Problem>> {
    let place = node.place;
    let sources = match node.value {
        Value::List(items) => items,
        _ => vec![node],
    };
    for source in sources.into_iter().rev() {
        let Value::Map(source) = source.value else {
            let what = "<< takes in the fields of a mapping, and this is none";
            return Err(broken(place, what, "give it a mapping, or a list of them"));
        };
        for entry in source.entries {
            map.set(entry);
        }
    }
    Ok(())
}

fn scalar(
    text: String,
    style: TScalarStyle,
    tag: Option<Tag>,
    place: Place,
) -> Result<Value, Box<Problem>> {
    match tag {
        Some(tag) if tag.handle == "tag:yaml.org,2002:" => scalar::tagged(&tag.suffix, &text)
            .ok_or_else(|| {
                let what = format!("{} is no !!{}", quoted(&text), tag.suffix);
                broken(place, what, "take the tag out")
            }),
        None if style == TScalarStyle::Plain => Ok(scalar::plain(&text)),
        _ => Ok(Value::Text(text)),
    }
}
