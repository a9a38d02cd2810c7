//! The dashboards of `dashboards/`: how they are laid out, whether Grafana's own types take them, whether what they ask
//! for exists, and whether a real Prometheus that scrapes a relay on a bad day has an answer to every query.

#[path = "../support/prometheus.rs"]
mod prometheus;
#[path = "../support/mod.rs"]
mod support;

mod boards;
mod layout;
mod live;
mod named;
mod replicas;
mod storm;
mod types;
