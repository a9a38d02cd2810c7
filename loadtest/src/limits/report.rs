//! What a run found, for people, scripts and the documentation.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context;
use serde::Serialize;

use super::{Figures, Kind, checks::Check, svg};

/// Everything one run measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The machine it ran on.
    pub machine: Machine,
    /// What was sent to every subject.
    pub load: String,
    /// The subjects, the relay first.
    pub subjects: Vec<Measured>,
    /// Suites of checks by name.
    pub suites: Vec<(String, Vec<Check>)>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// One subject's rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// What it is.
    pub title: String,
    /// Whether it is the relay.
    pub is_relay: bool,
    /// The median of each figure over the rounds.
    pub median: Figures,
    /// Each round.
    pub rounds: Vec<Figures>,
}

/// Where figures come from.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub processors: usize,
    /// Their name.
    pub processor: String,
    /// Memory, in gigabytes.
    pub memory_gb: f64,
    /// Kernel release.
    pub kernel: String,
    /// File system of the folder under test.
    pub file_system: String,
}

impl Machine {
    /// This machine, and the file system that holds `folder`.
    pub fn here(folder: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| -> String {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory_kb = after(&read("/proc/meminfo"), "MemTotal");
        let memory_kb: f64 = memory_kb
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or_default();
        // The mount point that is the longest prefix of the folder.
        let mounts = read("/proc/mounts");
        let mount = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ').skip(1);
                Some((fields.next()?, fields.next()?))
            })
            .filter(|(point, _)| folder.starts_with(point))
            .max_by_key(|(point, _)| point.len());
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            processor: after(&read("/proc/cpuinfo"), "model name"),
            memory_gb: (memory_kb / 1e6).round(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: mount.map_or_else(String::new, |(_, kind)| kind.to_owned()),
        }
    }

    /// What a person reads.
    pub fn sentence(&self) -> String {
        format!(
            "{} processors ({}), {} GB of memory, {}, Linux {}; the load generator runs on the same \
             processors",
            self.processors, self.processor, self.memory_gb, self.file_system, self.kernel
        )
    }
}

impl Measured {
    /// A subject's rounds, of which there is at least one.
    pub fn new(kind: Kind, rounds: Vec<Figures>) -> Self {
        let median = |figure: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let median = Figures {
            events_per_second: median(|one| one.events_per_second),
            p50_ms: median(|one| one.p50_ms),
            p99_ms: median(|one| one.p99_ms),
            max_ms: median(|one| one.max_ms),
            cpu_seconds_per_million: median(|one| one.cpu_seconds_per_million),
            written_per_received: median(|one| one.written_per_received),
            resident_bytes_max: median(|one| one.resident_bytes_max as f64) as u64,
            refused: rounds.iter().map(|one| one.refused).sum(),
            unrouted: rounds.iter().filter_map(|one| one.unrouted).max(),
        };
        Self {
            title: kind.title().to_owned(),
            is_relay: matches!(kind, Kind::Relay | Kind::RelayAllRouted),
            median,
            rounds,
        }
    }
}

impl Report {
    /// Whether every bound was measured and holds; JetStream may be missing.
    pub fn holds(&self) -> bool {
        self.suites
            .iter()
            .flat_map(|(_, checks)| checks)
            .all(Check::holds)
            && self
                .missing
                .iter()
                .all(|what| what.starts_with("JetStream"))
    }

    /// Markdown, which a person can read in a terminal too.
    pub fn markdown(&self) -> String {
        let mut out = format!("{}.\n\n", self.machine.sentence());
        if !self.subjects.is_empty() {
            let _ = writeln!(out, "{}\n", self.load);
            out.push_str(&self.figures_table());
            out.push('\n');
            out.push_str(&self.ratios_table());
            out.push('\n');
        }
        for (name, checks) in &self.suites {
            let _ = writeln!(out, "| {name} | measured | bound | |\n|---|---:|---:|---|");
            for check in checks {
                let sign = if check.at_least { "≥" } else { "≤" };
                let verdict = if check.holds() { "holds" } else { "**MISSED**" };
                let _ = writeln!(
                    out,
                    "| {} | {} | {sign} {} | {verdict} |",
                    check.what,
                    number(check.figure),
                    number(check.bound)
                );
            }
            out.push('\n');
        }
        for missing in &self.missing {
            let _ = writeln!(out, "Not measured: {missing}.");
        }
        out
    }

    fn figures_table(&self) -> String {
        let mut out = String::from(
            "| | events/s | p50 ms | p99 ms | slowest ms | CPU s per million | bytes written per byte \
             received | memory MB |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for subject in &self.subjects {
            let of_process = |figure: f64| match figure {
                // A subject inside the generator has no process of its own.
                0.0 => "–".to_owned(),
                figure => number(figure),
            };
            let figures = &subject.median;
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                subject.title,
                thousands(figures.events_per_second),
                number(figures.p50_ms),
                number(figures.p99_ms),
                number(figures.max_ms),
                of_process(figures.cpu_seconds_per_million),
                of_process(figures.written_per_received),
                of_process((figures.resident_bytes_max as f64 / 1e6).round()),
            );
        }
        out
    }

    /// Each relay over each limit.
    fn ratios_table(&self) -> String {
        let relays: Vec<_> = self.subjects.iter().filter(|one| one.is_relay).collect();
        let mut out = String::from("| |");
        for relay in &relays {
            let _ = write!(out, " {}: events/s | p50 | p99 |", relay.title);
        }
        out.push_str("\n|---|");
        out.push_str(&"---:|---:|---:|".repeat(relays.len()));
        out.push('\n');
        for limit in self.subjects.iter().filter(|one| !one.is_relay) {
            let _ = write!(out, "| over {} |", limit.title);
            for relay in &relays {
                let (own, other) = (&relay.median, &limit.median);
                let _ = write!(
                    out,
                    " {:.2} | {:.2} | {:.2} |",
                    own.events_per_second / other.events_per_second,
                    own.p50_ms / other.p50_ms,
                    own.p99_ms / other.p99_ms
                );
            }
            out.push('\n');
        }
        out
    }

    /// Writes `results.md`, `results.json` and the charts into a folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        let files = [
            ("results.md", self.markdown()),
            ("results.json", serde_json::to_string_pretty(self)? + "\n"),
            (
                "throughput.svg",
                svg::bars(
                    "Durable events per second, more is better",
                    &self.rows(|one| one.events_per_second, thousands),
                ),
            ),
            (
                "latency.svg",
                svg::bars(
                    "Acknowledgement, 99th percentile in ms, less is better",
                    &self.rows(|one| one.p99_ms, number),
                ),
            ),
            (
                "cpu.svg",
                svg::bars(
                    "Processor seconds per million events, less is better",
                    &self.rows(|one| one.cpu_seconds_per_million, number),
                ),
            ),
        ];
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn rows(&self, figure: fn(&Figures) -> f64, shown: fn(f64) -> String) -> Vec<svg::Bar> {
        self.subjects
            .iter()
            .map(|subject| svg::Bar {
                label: subject.title.clone(),
                value: figure(&subject.median),
                shown: shown(figure(&subject.median)),
                highlighted: subject.is_relay,
            })
            .filter(|bar| bar.value > 0.0)
            .collect()
    }
}

fn number(figure: f64) -> String {
    let digits = match figure.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{figure:.digits$}")
}

fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::bare::Work;

    fn figures(events_per_second: f64, p99_ms: f64) -> Figures {
        Figures {
            events_per_second,
            p50_ms: 1.0,
            p99_ms,
            max_ms: 9.0,
            cpu_seconds_per_million: 2.0,
            written_per_received: 0.1,
            resident_bytes_max: 5_000_000,
            refused: 0,
            unrouted: None,
        }
    }

    fn report() -> Report {
        let rounds = vec![
            figures(300.0, 4.0),
            figures(100.0, 2.0),
            figures(200.0, 3.0),
        ];
        Report {
            subjects: vec![
                Measured::new(Kind::Relay, rounds),
                Measured::new(Kind::Bare(Work::Keys), vec![figures(100.0, 6.0)]),
            ],
            ..Report::default()
        }
    }

    #[test]
    fn a_subjects_figure_is_the_median_and_ratios_are_of_medians() {
        let text = report().markdown();
        assert!(text.contains("| relay | 200 | 1.00 | 3.00 |"), "{text}");
        let ratios = "| over bare server: split, read keys, append, sync | 2.00 | 1.00 | 0.50 |";
        assert!(text.contains(ratios), "{text}");
    }

    #[test]
    fn a_missed_bound_is_told() {
        let mut report = report();
        let check = |figure, at_least| Check {
            what: "x".to_owned(),
            figure,
            bound: 2.0,
            at_least,
        };
        report.suites = vec![("s".to_owned(), vec![check(2.0, true), check(2.0, false)])];
        assert!(report.holds());
        report.suites[0].1.push(check(1.99, true));
        assert!(!report.holds());
        assert!(
            report
                .markdown()
                .contains("| x | 1.99 | ≥ 2.00 | **MISSED** |")
        );
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(
            [number(0.1234), number(12.34), number(123.4)],
            ["0.123", "12.3", "123"]
        );
    }

    #[test]
    fn charts_and_tables_are_files() {
        let folder = std::env::temp_dir().join(format!("report-{}", fastrand::u64(..)));
        report().write(&folder).expect("written");
        let chart = fs::read_to_string(folder.join("throughput.svg")).expect("a chart");
        assert!(
            chart.contains("relay") && chart.ends_with("</svg>\n"),
            "{chart}"
        );
        fs::remove_dir_all(folder).expect("removed");
    }
}
