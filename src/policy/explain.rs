//! `auditrelay policy explain`: which rule decides about a request, and why none before it does.
//!
//! Contract: for each request, what is told is what [`Policy::evaluate`](auditrelay_audit::policy::Policy::evaluate)
//! says. With `--attributes` and `--json` there is one line for each line that was read, in their order, written out
//! before the next one is read; its form is for scripts and does not change.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use auditrelay_audit::{
    Envelope, Level, Stage, Text,
    policy::{Decision, Loaded, Request},
};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    requests::{Asked, Attributes, each_event, each_line},
    source,
};
use crate::{
    Failure,
    output::{count, line, say, say_json_line, table},
};

const WHY_CHARS_MAX: usize = 300;
const NAME_CHARS_MAX: usize = 200;

/// What `policy explain` takes.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The policy, YAML or JSON; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Events to explain, each of them: an event, an EventList, a JSON array, or one of these a line; `-` is standard
    /// input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["attributes", "request"])]
    event: Option<PathBuf>,
    /// Requests to explain, a JSON object a line: user, groups, verb, namespace, resource, apiGroup, subresource,
    /// name, path, isResourceRequest; what is missing is empty. `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    attributes: Option<PathBuf>,
    #[command(flatten)]
    request: RequestArgs,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// A request on the command line.
#[derive(Debug, Args)]
#[group(id = "request", multiple = true)]
struct RequestArgs {
    /// Who asks.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A group of the user; several times for several.
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// The verb (get, list, watch, create, update, patch, delete, deletecollection), or the HTTP method of a path.
    #[arg(long, value_name = "VERB")]
    verb: Option<String>,
    /// The resource, with its subresource if it has one (pods/exec).
    #[arg(long, value_name = "RESOURCE", conflicts_with = "path")]
    resource: Option<String>,
    /// The resource's API group; none is the core group.
    #[arg(long, value_name = "GROUP", requires = "resource")]
    api_group: Option<String>,
    /// The subresource.
    #[arg(long, value_name = "NAME", requires = "resource")]
    subresource: Option<String>,
    /// The namespace; none is for what is in none.
    #[arg(long, value_name = "NAME", requires = "resource")]
    namespace: Option<String>,
    /// The name in the URL; none as in create, list and deletecollection.
    #[arg(long, value_name = "NAME", requires = "resource")]
    name: Option<String>,
    /// The path of a request that is not about a resource (/healthz).
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
}

impl RequestArgs {
    fn attributes(&self) -> Option<Attributes<'static>> {
        if self.resource.is_none() && self.path.is_none() {
            return None;
        }
        let text = |value: &Option<String>| Text::from(value.clone().unwrap_or_default());
        let mut resource = self.resource.clone().unwrap_or_default();
        let mut subresource = self.subresource.clone().unwrap_or_default();
        if self.subresource.is_none()
            && let Some((left, right)) = resource.split_once('/')
        {
            (resource, subresource) = (left.to_owned(), right.to_owned());
        }
        let groups = self.groups.iter().map(|group| Text::from(group.clone()));
        Some(Attributes {
            user: text(&self.user),
            groups: Some(groups.collect()),
            verb: text(&self.verb),
            namespace: text(&self.namespace),
            resource: resource.into(),
            api_group: text(&self.api_group),
            subresource: subresource.into(),
            name: text(&self.name),
            path: text(&self.path),
            is_resource_request: Some(self.resource.is_some()),
        })
    }
}

pub(crate) fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let is_input = |path: &Path| path.as_os_str() == "-";
    let other = args.event.as_deref().or(args.attributes.as_deref());
    if is_input(&args.file) && other.is_some_and(is_input) {
        let text = "standard input (-) can be only one of the two, the policy or what it is asked about; give a file for the other";
        return Err(Failure::Usage(text.to_owned()));
    }
    let loaded = source::load(&args.file)?;
    let explainer = Explainer {
        loaded: &loaded,
        json: args.json,
    };
    if let Some(path) = &args.event {
        let mut is_first = true;
        let unreadable = each_event(path, |event| {
            explainer.separate(&mut is_first)?;
            explainer.event(event)
        })?;
        if unreadable > 0 {
            return Err(Failure::Data(format!(
                "{}: {} could not be read as an event; the others are explained",
                path.display(),
                count(unreadable, "item")
            )));
        }
    } else if let Some(path) = &args.attributes {
        let mut is_first = true;
        each_line(path, |asked| {
            if args.json {
                return say_json_line(&Answer::new(&loaded.policy.evaluate(&asked.request())));
            }
            explainer.separate(&mut is_first)?;
            explainer.tell(&asked.request(), None)
        })?;
    } else if let Some(attributes) = args.request.attributes() {
        explainer.tell(&Asked::new(attributes).request(), None)?;
    } else {
        return Err(Failure::Usage(
            "no request is given; give --event, --attributes, or --verb with --resource or --path"
                .to_owned(),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What scripts read: exactly these members, in this order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    rule: Option<usize>,
    level: &'static str,
    omit_stages: Vec<&'static str>,
    omit_managed_fields: bool,
}

impl Answer {
    fn new(decision: &Decision) -> Self {
        Self {
            rule: decision.rule,
            level: decision.level.as_str(),
            omit_stages: decision
                .omit_stages
                .iter()
                .map(|stage| stage.as_str())
                .collect(),
            omit_managed_fields: decision.omit_managed_fields,
        }
    }
}

struct Explainer<'a> {
    loaded: &'a Loaded,
    json: bool,
}

impl Explainer<'_> {
    fn separate(&self, is_first: &mut bool) -> Result<(), Failure> {
        if std::mem::take(is_first) || self.json {
            return Ok(());
        }
        say("\n")
    }

    fn event(&self, event: &Envelope<'_>) -> Result<(), Failure> {
        self.tell(&Request::at_the_api_server(event), Some(event))
    }

    fn tell(&self, request: &Request<'_>, event: Option<&Envelope<'_>>) -> Result<(), Failure> {
        let decision = self.loaded.policy.evaluate(request);
        if self.json {
            return say_json_line(&self.as_json(request, event, &decision));
        }
        let mut text = describe(request, event);
        let tried = decision.rule.unwrap_or(self.loaded.policy.rules.len());
        let mut rows = Vec::new();
        for (number, rule) in self.loaded.policy.rules.iter().enumerate().take(tried + 1) {
            let why = match rule.matched.mismatch(request) {
                Some(mismatch) => line(&mismatch.to_string(), WHY_CHARS_MAX),
                None => "matches: it decides".to_owned(),
            };
            rows.push(vec![
                format!("rules[{number}]"),
                self.loaded.lines.rule(number).line.to_string(),
                rule.level.as_str().to_owned(),
                why,
            ]);
        }
        text.push_str(&table(&["rule", ">line", "level", "why"], &rows));
        text.push_str(&outcome(&decision, event));
        say(&text)
    }

    fn as_json(
        &self,
        request: &Request<'_>,
        event: Option<&Envelope<'_>>,
        decision: &Decision,
    ) -> Value {
        let tried = decision.rule.unwrap_or(self.loaded.policy.rules.len());
        let rules = self.loaded.policy.rules.iter().enumerate().take(tried);
        let missed: Vec<Value> = rules
            .filter_map(|(number, rule)| Some((number, rule.matched.mismatch(request)?)))
            .map(|(number, mismatch)| {
                let line = self.loaded.lines.rule(number).line;
                json!({"rule": number, "line": line, "field": mismatch.field, "why": mismatch.why})
            })
            .collect();
        let line = decision.rule.map(|rule| self.loaded.lines.rule(rule).line);
        let answer = Answer::new(decision);
        let mut value = json!({
            "rule": answer.rule, "level": answer.level, "omitStages": answer.omit_stages,
            "omitManagedFields": answer.omit_managed_fields, "line": line, "missed": missed,
        });
        if let (Some(event), Some(members)) = (event, value.as_object_mut()) {
            members.insert("auditID".to_owned(), json!(event.audit_id.as_str()));
            members.insert("stage".to_owned(), json!(event.stage.as_str()));
            members.insert(
                "isWritten".to_owned(),
                json!(is_written(decision, event.stage)),
            );
        }
        value
    }
}

/// Whether a policy that decided so writes the event of a stage.
fn is_written(decision: &Decision, stage: Stage) -> bool {
    decision.level != Level::None && !decision.omit_stages.contains(&stage)
}

/// The request, on the lines above its rules.
fn describe(request: &Request<'_>, event: Option<&Envelope<'_>>) -> String {
    let shown = |text: &str| match text {
        "" => "\"\"".to_owned(),
        text => line(text, NAME_CHARS_MAX),
    };
    let groups: Vec<String> = request.groups.iter().map(|group| shown(group)).collect();
    let groups = match groups.as_slice() {
        [] => "in no groups".to_owned(),
        groups => format!("of {}", groups.join(", ")),
    };
    let what = match request.object {
        None => format!("path {}", shown(&request.path)),
        Some(object) => {
            let mut what = shown(&object.resource);
            if !object.subresource.is_empty() {
                what.push_str(&format!("/{}", shown(&object.subresource)));
            }
            if !object.api_group.is_empty() {
                what.push_str(&format!(" of group {}", shown(&object.api_group)));
            }
            match object.namespace.as_str() {
                "" => what.push_str(", in no namespace"),
                namespace => what.push_str(&format!(" in {}", shown(namespace))),
            }
            match request.name {
                "" => what.push_str(", without a name"),
                name => what.push_str(&format!(", name {}", shown(name))),
            }
            what
        }
    };
    let mut text = format!(
        "{} ({groups}): {} {what}\n",
        shown(request.user),
        shown(request.verb)
    );
    if let Some(event) = event {
        let (id, stage) = (shown(&event.audit_id), event.stage.as_str());
        text.push_str(&format!("audit ID {id}, stage {stage}\n"));
    }
    text
}

/// What the policy makes of the request, under its rules.
fn outcome(decision: &Decision, event: Option<&Envelope<'_>>) -> String {
    let by = match decision.rule {
        Some(rule) => format!("rules[{rule}] decides"),
        None => "no rule matches".to_owned(),
    };
    let mut text = format!("{by}: level {}", decision.level.as_str());
    if decision.level == Level::None {
        text.push_str(", nothing is written\n");
        return text;
    }
    let names: Vec<&str> = decision
        .omit_stages
        .iter()
        .map(|stage| stage.as_str())
        .collect();
    match names.as_slice() {
        [] => text.push_str(", at every stage"),
        names => text.push_str(&format!(", not at {}", names.join(", "))),
    }
    let has_bodies = matches!(decision.level, Level::Request | Level::RequestResponse);
    if has_bodies && decision.omit_managed_fields {
        text.push_str(", bodies without managedFields");
    }
    text.push('\n');
    if let Some(event) = event
        && !is_written(decision, event.stage)
    {
        text.push_str("this event, of a stage that is left out, is not written\n");
    }
    text
}
