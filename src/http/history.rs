//! What was measured of each of the last seconds.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::service::EpochStats;

/// What was measured of each of the last seconds.
#[derive(Default)]
pub(super) struct MeasuredSeconds(Mutex<Seconds>);

#[derive(Default)]
struct Seconds {
    /// The oldest first.
    closed: VecDeque<Second>,
    open: OpenSecond,
}

/// A second that is over.
struct Second {
    /// Seconds since 1970.
    at: u64,
    epochs: u64,
    rows: u64,
    rejected: u64,
    visible: Spread,
    stages: [Duration; STAGES.len()],
    gauges: Gauges,
    /// How many epochs took how long, as [`LIMITS_US`] has it.
    counts: [u32; LIMITS_US.len() + 1],
}

/// A second as far as it has come.
#[derive(Default)]
struct OpenSecond {
    epochs: u64,
    rows: u64,
    rejected: u64,
    /// How long epochs took to become visible, in microseconds; of very many, the first.
    visible_us: Vec<u64>,
    stages: [Duration; STAGES.len()],
}

/// Quantiles of a second, in microseconds.
#[derive(Clone, Copy, Default)]
struct Spread {
    p50: u64,
    p99: u64,
    most: u64,
}

/// What is looked at once a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauges {
    pub(super) waiting_rows: u64,
    /// How long what waits longest has waited.
    pub(super) behind: Duration,
    pub(super) log_bytes: u64,
    pub(super) checkpoint_bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) watched_by: u64,
}

/// The stages of an epoch, one after the other but for log and compute, which are beside each other.
const STAGES: [&str; 5] = ["decode", "queue", "log", "compute", "serve"];
/// How many seconds are kept.
const KEPT: usize = 900;
/// How many epochs of a second are looked at singly.
const SINGLY: usize = 10_000;
/// The bounds of the distribution of times, in microseconds.
const LIMITS_US: [u64; 15] =
    [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 819_200, 3_276_800];

impl MeasuredSeconds {
    /// An epoch is visible.
    pub(super) fn epoch(&self, stats: &EpochStats) {
        let mut seconds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = &mut seconds.open;
        open.epochs += 1;
        open.rows += stats.rows();
        open.rejected += stats.tables.iter().map(|of_table| of_table.rejected).sum::<u64>();
        if open.visible_us.len() < SINGLY {
            open.visible_us.push(u64::try_from(stats.visible.as_micros()).unwrap_or(u64::MAX));
        }
        let served = stats.visible.saturating_sub(stats.computed.max(stats.committed));
        let took = [stats.decoded, stats.queued, stats.committed, stats.computed, served];
        open.stages.iter_mut().zip(took).for_each(|(sum, took)| *sum += took);
    }

    /// A second is over.
    pub(super) fn close(&self, at: u64, gauges: Gauges) {
        let mut seconds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Each second is another one, also where the clock is set back.
        let at = seconds.closed.back().map_or(at, |last| at.max(last.at + 1));
        let OpenSecond { epochs, rows, rejected, mut visible_us, stages } = std::mem::take(&mut seconds.open);
        visible_us.sort_unstable();
        let mut counts = [0; LIMITS_US.len() + 1];
        visible_us.iter().for_each(|took| counts[LIMITS_US.partition_point(|limit| limit < took)] += 1);
        let stages = stages.map(|sum| sum / u32::try_from(epochs.max(1)).unwrap_or(u32::MAX));
        let visible = Spread::of(&visible_us);
        seconds.closed.push_back(Second { at, epochs, rows, rejected, visible, stages, gauges, counts });
        if seconds.closed.len() > KEPT {
            seconds.closed.pop_front();
        }
    }

    /// The seconds after one, as columns.
    pub(super) fn json(&self, since: u64) -> Value {
        let seconds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seconds.closed.partition_point(|second| second.at <= since);
        let column = |of: &dyn Fn(&Second) -> u64| seconds.closed.range(first..).map(of).collect::<Vec<_>>();
        let micros = |took: Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let stages = STAGES.iter().enumerate();
        let stages: serde_json::Map<String, Value> = stages
            .map(|(place, name)| ((*name).to_owned(), json!(column(&|second| micros(second.stages[place])))))
            .collect();
        let counts: Vec<u64> = (0..=LIMITS_US.len())
            .map(|place| seconds.closed.iter().map(|second| u64::from(second.counts[place])).sum())
            .collect();
        json!({
            "seconds": column(&|second| second.at),
            "epochs": column(&|second| second.epochs),
            "rows": column(&|second| second.rows),
            "rejected_rows": column(&|second| second.rejected),
            "visible_us": {
                "p50": column(&|second| second.visible.p50),
                "p99": column(&|second| second.visible.p99),
                "max": column(&|second| second.visible.most),
            },
            "stages_us": stages,
            "behind_us": column(&|second| micros(second.gauges.behind)),
            "waiting_rows": column(&|second| second.gauges.waiting_rows),
            "log_bytes": column(&|second| second.gauges.log_bytes),
            "checkpoint_bytes": column(&|second| second.gauges.checkpoint_bytes),
            "memory_bytes": column(&|second| second.gauges.memory_bytes),
            "followers": column(&|second| second.gauges.watched_by),
            "distribution": { "most_us": LIMITS_US, "epochs": counts },
        })
    }
}

impl Spread {
    fn of(sorted: &[u64]) -> Spread {
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1))).copied();
        Spread {
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            most: sorted.last().copied().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_what_was_measured_in_them_and_the_oldest_are_forgotten() {
        let history = MeasuredSeconds::default();
        let epoch = |visible_us| EpochStats {
            committed: Duration::from_micros(10),
            computed: Duration::from_micros(visible_us - 5),
            visible: Duration::from_micros(visible_us),
            ..EpochStats::default()
        };
        (1..=100).for_each(|step| history.epoch(&epoch(step * 100)));
        history.close(1, Gauges { waiting_rows: 7, ..Gauges::default() });
        history.close(2, Gauges::default());
        let all = history.json(0);
        assert_eq!((&all["epochs"], &all["waiting_rows"]), (&json!([100, 0]), &json!([7, 0])));
        assert_eq!(all["visible_us"], json!({ "p50": [5_100, 0], "p99": [10_000, 0], "max": [10_000, 0] }));
        assert_eq!((&all["stages_us"]["serve"], &all["stages_us"]["log"]), (&json!([5, 0]), &json!([10, 0])));
        let counts = all["distribution"]["epochs"].as_array().expect("counts").clone();
        assert_eq!((counts[1].clone(), counts[2].clone(), counts.len()), (json!(1), json!(1), 16));
        assert_eq!(history.json(1)["seconds"], json!([2]));
        (3..2000).for_each(|at| history.close(at, Gauges::default()));
        assert_eq!(history.json(0)["seconds"].as_array().map(Vec::len), Some(KEPT));
        assert_eq!(history.json(0)["distribution"]["epochs"][1], json!(0));
    }
}
