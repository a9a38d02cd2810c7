//! A real Prometheus beside a test: Debian's program, on a free loopback port, with a folder of its own for data.
//!
//! Contract: `start` gives a server that answers, or `None` (after a line that says so) where the program is not
//! installed; what it scrapes and which rules it evaluates stand in the configuration that the test gives it. It ends
//! with the test. Nothing here waits for a fixed time: `until` asks again until an answer is as it has to be.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use hyper::{Method, StatusCode, body::Bytes};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::form_urlencoded;

use crate::support::{PATIENCE, request};

/// A configuration that scrapes these jobs (name, address) every second. Rules: add `rule_files: [...]` to it.
pub fn scraping(jobs: &[(&str, SocketAddr)]) -> String {
    let jobs = jobs.iter().map(|(job, address)| {
        format!("- job_name: {job}\n  static_configs: [{{targets: ['{address}']}}]\n")
    });
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nscrape_configs:\n{}",
        jobs.collect::<String>()
    )
}

/// A running Prometheus.
pub struct Prometheus {
    child: Child,
    pub address: SocketAddr,
    _data: tempfile::TempDir,
}

/// One series of an answer: its labels, and its samples as (Unix time in seconds, value).
#[derive(Debug, Clone)]
pub struct Series {
    pub labels: Value,
    pub samples: Vec<(f64, f64)>,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts one with this configuration. Relative names of rule files count from `folder`, where it is written.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    pub async fn start(folder: &Path, config: &str) -> Option<Self> {
        if Command::new("prometheus")
            .arg("--version")
            .output()
            .is_err()
        {
            println!("skipped: prometheus is not installed (apt-get install prometheus)");
            return None;
        }
        let file = folder.join("prometheus.yaml");
        fs::write(&file, config).expect("written");
        // Its own folder: the test may list what is in the other one.
        let data = tempfile::tempdir().expect("a folder");
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", data.path().display()))
            .arg("--storage.tsdb.retention.time=1d")
            // It takes the port itself and says which: there is no moment in which another could take it.
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it was there a moment ago");
        let lines = read_lines(&mut child);
        let mut prometheus = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            _data: data,
        };
        let mut seen = Vec::new();
        loop {
            let line = lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("prometheus does not start: {seen:#?}"));
            if line.contains("msg=\"Listening on\"") {
                let (_, address) = line.rsplit_once("address=").expect("an address");
                prometheus.address = address.trim().parse().expect("an address");
            }
            let is_ready = line.contains("Server is ready to receive web requests");
            seen.push(line);
            if is_ready && prometheus.address.port() != 0 {
                return Some(prometheus);
            }
        }
    }

    /// Asks its HTTP API, as `api("rules", &[])`; the answer's `data`, or its error.
    pub async fn api(&self, what: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        let path = format!("/api/v1/{what}?{query}");
        let answer = request(self.address, Method::GET, &path, Bytes::new()).await;
        let (_, body) = answer.expect("prometheus answers");
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(answer["error"].to_string()),
        }
    }

    /// An instant query, now. An answer that is a scalar is one series without labels.
    pub async fn query(&self, query: &str) -> Result<Vec<Series>, String> {
        Ok(series(&self.api("query", &[("query", query)]).await?))
    }

    /// The same at steps of a time (Unix time in seconds).
    pub async fn query_range(
        &self,
        query: &str,
        start: f64,
        end: f64,
        step_seconds: f64,
    ) -> Result<Vec<Series>, String> {
        let [start, end, step] = [start, end, step_seconds].map(|number| number.to_string());
        let parameters = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", &step),
        ];
        Ok(series(&self.api("query_range", &parameters).await?))
    }

    /// The value of a query whose answer is a single series.
    pub async fn value(&self, query: &str) -> f64 {
        let found = self.query(query).await.expect("a query");
        match found.as_slice() {
            [Series { samples, .. }] => samples.last().expect("a sample").1,
            _ => panic!("not one series for {query}: {found:?}"),
        }
    }

    /// Waits until a query gives at least one series, as a comparison does once it holds.
    pub async fn until(&self, query: &str) -> Vec<Series> {
        self.until_within(PATIENCE, query).await
    }

    /// The same with another patience.
    pub async fn until_within(&self, patience: Duration, query: &str) -> Vec<Series> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.query(query).await.expect("a query");
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {query}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Its rules as `/api/v1/rules` has them, all groups in one list: `name`, `type`, `state`, `health`, `lastError`.
    pub async fn rules(&self) -> Vec<Value> {
        let data = self.api("rules", &[]).await.expect("rules");
        let groups = data["groups"].as_array().expect("groups").iter();
        groups
            .flat_map(|group| group["rules"].as_array().expect("rules").clone())
            .collect()
    }

    /// Reads its configuration and its rules again, as SIGHUP tells it to.
    pub fn reload(&self) {
        let kill = format!("kill -HUP {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("a shell").success());
    }

    /// Whether it says of itself that it is healthy.
    pub async fn is_healthy(&self) -> bool {
        let answer = request(self.address, Method::GET, "/-/healthy", Bytes::new()).await;
        answer.is_some_and(|(status, _)| status == StatusCode::OK)
    }
}

fn read_lines(child: &mut Child) -> mpsc::Receiver<String> {
    let stderr = child.stderr.take().expect("it is piped");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        // To its end, whether somebody listens or not: a full pipe would stop it.
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

fn series(data: &Value) -> Vec<Series> {
    let sample = |pair: &Value| {
        let value = pair[1].as_str().expect("a value").parse();
        (
            pair[0].as_f64().expect("a time"),
            value.expect("a number, NaN or Inf"),
        )
    };
    if data["resultType"] == "scalar" {
        return vec![Series {
            labels: Value::Null,
            samples: vec![sample(&data["result"])],
        }];
    }
    let found = data["result"].as_array().expect("series").iter();
    found
        .map(|one| Series {
            labels: one["metric"].clone(),
            samples: match one["values"].as_array() {
                Some(values) => values.iter().map(sample).collect(),
                None => vec![sample(&one["value"])],
            },
        })
        .collect()
}
