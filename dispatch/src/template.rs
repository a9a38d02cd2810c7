//! What a channel or a route has to say of an event in its own words: templates in Jinja's language.
//!
//! Invariants:
//! * a template that cannot work is found at start: it is compiled, its names are looked up, and it is tried
//!   on sample events ([`Templates::all`]);
//! * an event cannot make one fail in a way that costs the event: fuel bounds time and memory, what comes
//!   out is bounded, and where it fails the built-in sentence stands, with a mark ([`Templates::fields`])
//!   and a line in the log;
//! * what leaves here is clean ([`crate::escape`]); a value enters a URL percent-encoded and a command
//!   quoted, whatever the template does to it before, as it is written by the formatter of its kind
//!   (`kinds`): there is no filter to turn that off.

mod kinds;
mod values;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use auditrelay_audit::{Envelope, Severity};
use auditrelay_config::{ChannelConfig, Config, RouteConfig};
use auditrelay_store::EventDelivery;
use minijinja::{Environment, Value};
use tokio::time::Instant;
use url::Url;

use crate::escape::clean;
use kinds::Kind;

const SENTENCE_CHARS_MAX: usize = 600;
const FIELD_CHARS_MAX: usize = 300;
const TITLE_CHARS_MAX: usize = 60;
const FIELDS_MAX: usize = 10;
const LINKS_MAX: usize = 5;
const TEMPLATE_CHARS_MAX: usize = 4_000;
const PROBLEM_CHARS_MAX: usize = 300;
/// Some 20,000 instructions, or 1.3 MB (minijinja: one unit for an instruction or 64 bytes).
const FUEL: u64 = 20_000;
/// One template writes at most one line to the log in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
const MARK: &str = "⚠ Template";

/// The templates of one channel and of all routes, compiled.
#[derive(Debug, Default)]
pub struct Templates {
    sentence: Option<Template>,
    fields: Vec<(String, Template)>,
    /// By name. Another channel's events come here as well where this one is its fallback.
    routes: Arc<BTreeMap<String, RouteTemplates>>,
}

#[derive(Debug)]
struct RouteTemplates {
    severity: Severity,
    sentence: Option<Template>,
    links: Vec<(String, Template)>,
    command: Option<Template>,
}

#[derive(Debug)]
struct Template {
    /// Where it stands in the configuration.
    key: String,
    kind: Kind,
    engine: Environment<'static>,
    logged: Mutex<Option<Instant>>,
}

/// Why a template gives nothing.
#[derive(Debug, PartialEq)]
enum Fault {
    /// The template's. `kind` quotes no value of an event, `text` may.
    Failed { kind: String, text: String },
    /// What came out must not be used; the event's doing.
    Unfit(&'static str),
}

impl Templates {
    /// The templates of every channel, by its name: compiled, and tried on sample events.
    ///
    /// # Errors
    /// The key that holds it, and what is wrong, in one line.
    pub fn all(config: &Config) -> Result<BTreeMap<String, Arc<Self>>, String> {
        let routes = Arc::new(of_routes(&config.routes)?);
        let of_channel = |(name, channel): (_, &ChannelConfig)| {
            let templates = Self::compile(&format!("channels.{name}."), channel, &routes)?;
            Ok((format!("{name}"), Arc::new(templates)))
        };
        config.channels.iter().map(of_channel).collect()
    }

    fn compile(
        prefix: &str,
        channel: &ChannelConfig,
        routes: &Arc<BTreeMap<String, RouteTemplates>>,
    ) -> Result<Self, String> {
        let sentence = channel.sentence.as_deref();
        let sentence = sentence
            .map(|text| Template::new(format!("{prefix}sentence"), Kind::Text, text))
            .transpose()?;
        at_most(
            FIELDS_MAX,
            channel.fields.len(),
            &format!("{prefix}fields"),
            "fields",
        )?;
        let mut fields = Vec::with_capacity(channel.fields.len());
        for (index, field) in channel.fields.iter().enumerate() {
            let key = format!("{prefix}fields[{index}]");
            let title = title(&format!("{key}.title"), &field.title)?;
            let text = Template::new(format!("{key}.text"), Kind::Text, &field.text)?;
            fields.push((title, text));
        }
        Ok(Self {
            sentence,
            fields,
            routes: Arc::clone(routes),
        })
    }

    /// What stands in place of the sentence, as the event's route has it, or else the channel; clean, bounded text.
    pub fn sentence(&self, event: &EventDelivery, envelope: &Envelope<'_>) -> Option<String> {
        let template = self.sentence_of(&event.route)?;
        let values = self.values(event, envelope);
        let text = template.told(&values)?;
        let text = clean(&one_line(&text), SENTENCE_CHARS_MAX);
        (!text.is_empty()).then_some(text)
    }

    /// One that fails is not replaced by the other: the built-in sentence is what has always been tried.
    fn sentence_of(&self, route: &str) -> Option<&Template> {
        let of_route = self.routes.get(route);
        of_route
            .and_then(|route| route.sentence.as_ref())
            .or(self.sentence.as_ref())
    }

    /// More to say of the event: titles and clean, bounded texts, none empty. Names the event's templates
    /// that failed, too.
    pub fn fields(&self, event: &EventDelivery, envelope: &Envelope<'_>) -> Vec<(String, String)> {
        let route = self.routes.get(&event.route);
        let of_route = route.into_iter().flat_map(RouteTemplates::all);
        let sentence = self.sentence_of(&event.route);
        let mut others = sentence.into_iter().chain(of_route).peekable();
        if self.fields.is_empty() && others.peek().is_none() {
            return Vec::new();
        }
        let values = self.values(event, envelope);
        let mut failed: Vec<&str> = others
            .filter(|template| matches!(template.render(&values), Err(Fault::Failed { .. })))
            .map(|template| template.key.as_str())
            .collect();
        let mut fields = Vec::new();
        for (title, template) in &self.fields {
            match template.told(&values) {
                Some(text) => {
                    let text = clean(&one_line(&text), FIELD_CHARS_MAX);
                    if !text.is_empty() {
                        fields.push((title.clone(), text));
                    }
                }
                None => failed.push(&template.key),
            }
        }
        if !failed.is_empty() {
            let text = format!("{} failed", failed.join(", "));
            // First: what is shown may be the first few.
            fields.insert(0, (MARK.to_owned(), clean(&text, FIELD_CHARS_MAX)));
        }
        fields
    }

    /// Links of the event's route: what each is called, and where it leads (http or https).
    pub fn links(&self, event: &EventDelivery, envelope: &Envelope<'_>) -> Vec<(String, Url)> {
        let Some(route) = self.routes.get(&event.route) else {
            return Vec::new();
        };
        if route.links.is_empty() {
            return Vec::new();
        }
        let values = self.values(event, envelope);
        let link = |(text, template): &(String, Template)| {
            let url = Url::parse(&template.told(&values)?).ok()?;
            Some((text.clone(), url))
        };
        route.links.iter().filter_map(link).collect()
    }

    /// The command of the event's route; clean, bounded text, its values quoted for a shell.
    pub fn command(&self, event: &EventDelivery, envelope: &Envelope<'_>) -> Option<String> {
        let template = self.routes.get(&event.route)?.command.as_ref()?;
        let command = template.told(&self.values(event, envelope))?;
        (!command.is_empty()).then_some(command)
    }

    fn values(&self, event: &EventDelivery, envelope: &Envelope<'_>) -> Value {
        let route = self.routes.get(&event.route);
        let severity = route.map_or(Severity::default(), |route| route.severity);
        values::of(&event.cluster, &event.route, severity, envelope)
    }
}

impl RouteTemplates {
    /// Those beside the sentence.
    fn all(&self) -> impl Iterator<Item = &Template> {
        self.links.iter().map(|(_, url)| url).chain(&self.command)
    }
}

fn of_routes(routes: &[RouteConfig]) -> Result<BTreeMap<String, RouteTemplates>, String> {
    let mut compiled = BTreeMap::new();
    for (index, route) in routes.iter().enumerate() {
        let key = format!("routes[{index}]");
        at_most(
            LINKS_MAX,
            route.links.len(),
            &format!("{key}.links"),
            "links",
        )?;
        let mut links = Vec::with_capacity(route.links.len());
        for (number, link) in route.links.iter().enumerate() {
            let key = format!("{key}.links[{number}]");
            let text = title(&format!("{key}.text"), &link.text)?;
            let origin =
                kinds::origin(&link.url).map_err(|problem| format!("{key}.url: {problem}"))?;
            let url = Template::new(format!("{key}.url"), Kind::Url(origin), &link.url)?;
            links.push((text, url));
        }
        let command = route.command.as_deref();
        let command = command
            .map(|text| Template::new(format!("{key}.command"), Kind::Command, text))
            .transpose()?;
        let sentence = route.template.as_deref();
        let sentence = sentence
            .map(|text| Template::new(format!("{key}.template"), Kind::Text, text))
            .transpose()?;
        let templates = RouteTemplates {
            severity: route.severity,
            sentence,
            links,
            command,
        };
        compiled.insert(route.name.to_string(), templates);
    }
    Ok(compiled)
}

fn at_most(max: usize, found: usize, key: &str, what: &str) -> Result<(), String> {
    if found <= max {
        return Ok(());
    }
    Err(format!(
        "{key}: found {found} {what}, expected at most {max}"
    ))
}

fn title(key: &str, text: &str) -> Result<String, String> {
    let title = clean(text.trim(), TITLE_CHARS_MAX);
    if title.is_empty() {
        return Err(format!("{key}: is empty"));
    }
    Ok(title)
}

/// Lines that a template is written in are not lines of what it says.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join(" ").trim().to_owned()
}

impl Template {
    fn new(key: String, kind: Kind, source: &str) -> Result<Self, String> {
        let problem = |problem: &str| format!("{key}: {}", clean(problem, PROBLEM_CHARS_MAX));
        if source.chars().nth(TEMPLATE_CHARS_MAX).is_some() {
            let text = format!("is longer than {TEMPLATE_CHARS_MAX} characters");
            return Err(problem(&text));
        }
        let mut engine = Environment::new();
        engine.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        engine.set_fuel(Some(FUEL));
        // What would mark a value as needing no care, or show all values at once.
        engine.remove_filter("safe");
        engine.remove_global("debug");
        engine.set_formatter(kind.formatter());
        engine
            .add_template_owned("template", source.trim().to_owned())
            .map_err(|error| problem(&explained(&error)))?;
        let compiled = engine.get_template("template");
        let compiled = compiled.map_err(|error| problem(&explained(&error)))?;
        if let Some(unknown) = values::unknown(&compiled) {
            return Err(problem(&format!("there is no value {unknown}")));
        }
        let template = Self {
            key: key.clone(),
            kind,
            engine,
            logged: Mutex::new(None),
        };
        for sample in values::samples() {
            match template.render(&sample.values) {
                Err(Fault::Failed { text, .. }) => return Err(problem(&text)),
                Err(Fault::Unfit(text)) if sample.is_plain => return Err(problem(text)),
                _ => {}
            }
        }
        Ok(template)
    }

    fn render(&self, values: &Value) -> Result<String, Fault> {
        let rendered = catch_unwind(AssertUnwindSafe(|| {
            self.engine
                .get_template("template")
                .and_then(|template| template.render(values.clone()))
        }));
        match rendered {
            Ok(Ok(text)) => self.kind.finish(&text).map_err(Fault::Unfit),
            Ok(Err(error)) => Err(Fault::Failed {
                kind: error.kind().to_string(),
                text: explained(&error),
            }),
            Err(_) => Err(Fault::Failed {
                kind: "the template engine panicked".to_owned(),
                text: "the template engine panicked".to_owned(),
            }),
        }
    }

    /// What it says, or `None` and a line in the log.
    fn told(&self, values: &Value) -> Option<String> {
        match self.render(values) {
            Ok(text) => Some(text),
            Err(fault) => {
                self.log(&fault);
                None
            }
        }
    }

    fn log(&self, fault: &Fault) {
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_some_and(|before| now.duration_since(before) < LOG_INTERVAL) {
            return;
        }
        *logged = Some(now);
        match fault {
            // Without the engine's details, which may quote a value of the event.
            Fault::Failed { kind, .. } => tracing::warn!(
                key = self.key,
                problem = kind,
                "a template failed on an event, which is told without it; `auditrelay render` shows it on events of \
                 yours"
            ),
            Fault::Unfit(problem) => tracing::info!(
                key = self.key,
                problem,
                "what a template made of an event is left out, and the event is told without it"
            ),
        }
    }
}

/// An error of the engine in a few words.
fn explained(error: &minijinja::Error) -> String {
    let mut text = error.kind().to_string();
    if let Some(detail) = error.detail() {
        text = format!("{text}: {detail}");
    }
    match error.line() {
        Some(line) if line > 1 => format!("{text} (line {line} of the template)"),
        _ => text,
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
