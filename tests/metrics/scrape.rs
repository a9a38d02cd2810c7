//! A scrape in Prometheus' text format, as a program reads it.

use std::collections::BTreeMap;

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::support::Running;

pub type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    /// Name, labels and value.
    pub samples: Vec<(String, Labels, f64)>,
}

/// `/metrics` and its content type, asked for with this `Accept`.
pub async fn scrape(relay: &Running, accept: Option<&str>) -> (String, String) {
    let stream = TcpStream::connect(relay.admin).await.expect("it listens");
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().uri("/metrics").header("Host", "relay");
    if let Some(accept) = accept {
        request = request.header("Accept", accept);
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let response = client.send_request(request).await.expect("an answer");
    let content_type = response.headers()["content-type"]
        .to_str()
        .expect("text")
        .to_owned();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    connection.abort();
    (
        content_type,
        String::from_utf8(body.to_vec()).expect("text"),
    )
}

/// Families by name.
pub fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').expect("a type");
            name = family.to_owned();
            families.entry(name.clone()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (sample, labels) = match series.split_once('{') {
                Some((sample, labels)) => (sample, read_labels(labels.trim_end_matches('}'))),
                None => (series, Labels::new()),
            };
            let value = value.parse().expect("a number");
            let family = families.get_mut(&name).expect("a type stands before it");
            family.samples.push((sample.to_owned(), labels, value));
        }
    }
    families
}

/// No value here holds a quote or a backslash; one that does fails the test that finds it.
fn read_labels(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').expect("it ends");
        assert!(!value.contains('\\'), "{text}");
        labels.insert(name.trim_start_matches(',').to_owned(), value.to_owned());
        rest = after;
    }
    labels
}

/// The value of a series by its labels.
pub fn value(
    families: &BTreeMap<String, Family>,
    name: &str,
    labels: &[(&str, &str)],
) -> Option<f64> {
    let expected: Labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let samples = families.get(name)?.samples.iter();
    let mut own = samples.filter(|(_, labels, _)| *labels == expected);
    own.next().map(|(_, _, value)| *value)
}
