//! What a run found: a table of figures and of their ratios to the disk's.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Arrangement, Figures};
use crate::limits::report::Machine;

/// Everything one run measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The machine it ran on.
    pub machine: Machine,
    /// What was sent.
    pub load: String,
    /// Arrangements, the disk first if it was measured.
    pub measured: Vec<Measured>,
}

/// One arrangement's rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// What it is.
    pub arrangement: Arrangement,
    /// The median of each figure.
    pub median: Figures,
    /// Each round.
    pub rounds: Vec<Figures>,
}

impl Measured {
    /// An arrangement's rounds, of which there is at least one.
    pub fn new(arrangement: Arrangement, rounds: Vec<Figures>) -> Self {
        let median = |figure: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let median = Figures {
            acknowledged_per_second: median(|one| one.acknowledged_per_second),
            routed_per_second: median(|one| one.routed_per_second),
            p50_ms: median(|one| one.p50_ms),
            p99_ms: median(|one| one.p99_ms),
            cpu_seconds_per_million: median(|one| one.cpu_seconds_per_million),
            refused: rounds.iter().map(|one| one.refused).sum(),
        };
        Self {
            arrangement,
            median,
            rounds,
        }
    }
}

impl Report {
    /// Markdown, which a person can read in a terminal too.
    pub fn markdown(&self) -> String {
        let mut out = format!("{}.\n\n{}\n\n", self.machine.sentence(), self.load);
        out.push_str(
            "| | Acknowledged events/s | to the disk | Routed events/s | to the disk | p50, p99 ms | Relays' processor s \
             per million | Refused batches |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        let disk = self
            .measured
            .iter()
            .find(|one| one.arrangement == Arrangement::Disk);
        for one in &self.measured {
            let ratio = |figure: fn(&Figures) -> f64| match disk {
                Some(disk) => format!("{:.2}", figure(&one.median) / figure(&disk.median)),
                None => "–".to_owned(),
            };
            let Figures {
                acknowledged_per_second,
                routed_per_second,
                p50_ms,
                p99_ms,
                cpu_seconds_per_million,
                refused,
            } = &one.median;
            // A string takes everything.
            let _written = writeln!(
                out,
                "| {} | {acknowledged_per_second:.0} | {} | {routed_per_second:.0} | {} | {p50_ms:.1}, {p99_ms:.1} | \
                 {cpu_seconds_per_million:.1} | {refused} |",
                one.arrangement.title(),
                ratio(|figures| figures.acknowledged_per_second),
                ratio(|figures| figures.routed_per_second),
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(events: f64) -> Figures {
        Figures {
            acknowledged_per_second: events,
            routed_per_second: events / 2.0,
            p50_ms: 1.0,
            p99_ms: 2.0,
            cpu_seconds_per_million: 3.0,
            refused: 1,
        }
    }

    #[test]
    fn ratios_are_of_medians_to_the_disk() {
        let disk = vec![figures(100.0), figures(300.0), figures(200.0)];
        let relays = Arrangement::JetStream {
            servers: 3,
            is_synced: false,
            relays: 2,
        };
        let report = Report {
            machine: Machine::default(),
            load: "A load.".to_owned(),
            measured: vec![
                Measured::new(Arrangement::Disk, disk),
                Measured::new(relays, vec![figures(50.0)]),
            ],
        };
        let text = report.markdown();
        assert!(
            text.contains("| 1 relay, disk | 200 | 1.00 | 100 | 1.00 | 1.0, 2.0 | 3.0 | 3 |"),
            "{text}"
        );
        assert!(
            text.contains("| 2 relays, 3 servers, without | 50 | 0.25 | 25 | 0.25 |"),
            "{text}"
        );
    }
}
