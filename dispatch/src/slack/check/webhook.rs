//! An incoming webhook, as far as it can be checked without posting: its URL's form, and its host.

use std::collections::HashMap;

use bytes::Bytes;
use hyper::{Method, Request};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::findings::{Finding, Level};
use crate::slack::http::Http;

/// What became of asking each host.
pub(super) type Hosts = HashMap<String, Result<(), String>>;

pub(super) async fn look(
    http: &Http,
    hosts: &mut Hosts,
    url: &SecretString,
    deadline: Instant,
) -> (String, Vec<Finding>) {
    let Ok(url) = Url::parse(url.expose_secret()) else {
        let finding = Finding::new(Level::Problem, "webhook_form", "the URL cannot be read");
        return ("webhook".into(), vec![finding.todo("correct webhook_url")]);
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    let place = format!("webhook at {host}");
    let mut findings = Vec::new();
    if !has_form(&url) {
        let text = "the URL does not have the form of an incoming webhook, /services/T…/B…/…";
        let finding = Finding::new(Level::Warning, "webhook_form", text);
        findings.push(finding.todo("correct webhook_url"));
    } else if !matches!(&*host, "hooks.slack.com" | "hooks.slack-gov.com") {
        let text = "the URL's host is not one of Slack's";
        findings.push(Finding::new(Level::Note, "webhook_host", text));
    }
    let origin = url.origin().ascii_serialization();
    if !hosts.contains_key(&origin) {
        let answer = ask(http, &origin, deadline).await;
        hosts.insert(origin.clone(), answer);
    }
    findings.push(match hosts.get(&origin) {
        Some(Err(why)) => {
            let finding = Finding::new(Level::Problem, "unreachable", why.as_str());
            finding.todo("look at the network, slack.proxy and webhook_url")
        }
        _ => {
            let text =
                "the host answers; whether the webhook takes messages is known only after posting";
            Finding::new(Level::Note, "webhook", text)
        }
    });
    (place, findings)
}

/// Slack: `https://hooks.slack.com/services/T…/B…/…`.
fn has_form(url: &Url) -> bool {
    let path: Vec<&str> = url.path_segments().into_iter().flatten().collect();
    matches!(path[..], ["services", team, hook, secret]
        if team.starts_with('T') && hook.starts_with('B') && !secret.is_empty())
}

/// Asks the host for its front page, and not the webhook for anything.
async fn ask(http: &Http, origin: &str, deadline: Instant) -> Result<(), String> {
    let request = Request::builder()
        .method(Method::HEAD)
        .uri(format!("{origin}/"))
        .body(Bytes::new())
        .map_err(|_| "the URL cannot be used".to_owned())?;
    match timeout_at(deadline, http.send("webhook", request)).await {
        Ok(answer) => answer.map(drop).map_err(|broken| broken.reason),
        Err(_) => Err("no answer within the time for the check".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_webhook() {
        let is = |url: &str| has_form(&Url::parse(url).expect("a URL"));
        assert!(is("https://hooks.slack.com/services/T1/B1/abc"));
        for other in [
            "https://hooks.slack.com/services/T1/B1",
            "https://hooks.slack.com/services/T1/B1/",
            "https://hooks.slack.com/triggers/T1/1/abc",
            "https://slack.com/api/",
            "https://hooks.slack.com/services/B1/T1/abc",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
