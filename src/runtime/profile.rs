//! Where the time goes: how long each operator worked, told by timely's own log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

use crate::report::StageReport;

use super::sink::TABLES;

/// How long each operator worked, all workers together.
#[derive(Default)]
pub(super) struct Profile(Mutex<BTreeMap<String, Duration>>);

impl Profile {
    /// Follows what a worker does from here on. Must be called before the worker has dataflows.
    pub(super) fn follow(self: &Arc<Self>, worker: &Worker) {
        let Some(mut registry) = worker.log_register() else { return };
        let profile = Arc::clone(self);
        let mut names: HashMap<usize, String> = HashMap::new();
        // The operators that are running, each inside the one before it, and since when it has had the worker to itself.
        let mut running: Vec<usize> = Vec::new();
        let mut since = Duration::ZERO;
        registry.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
            for (at, event) in events.iter().flat_map(|events| events.iter()) {
                match event {
                    TimelyEvent::Operates(operator) => drop(names.insert(operator.id, operator.name.clone())),
                    TimelyEvent::Schedule(schedule) => {
                        // What is done for each table is added where it is done.
                        let name = running.last().and_then(|id| names.get(id)).filter(|name| *name != TABLES);
                        if let Some(name) = name {
                            profile.add(name, at.saturating_sub(since));
                        }
                        since = *at;
                        match schedule.start_stop {
                            StartStop::Start => running.push(schedule.id),
                            StartStop::Stop => drop(running.pop()),
                        }
                    }
                    _ => {}
                }
            }
        });
    }

    /// Adds what something took.
    pub(super) fn add(&self, name: &str, took: Duration) {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match stages.get_mut(name) {
            Some(sum) => *sum += took,
            None => drop(stages.insert(name.to_owned(), took)),
        }
    }

    /// The stages, the longest first.
    pub(super) fn stages(&self) -> Vec<StageReport> {
        let stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stage =
            |(name, took): (&String, &Duration)| StageReport { name: name.clone(), seconds: took.as_secs_f64() };
        let mut stages: Vec<_> = stages.iter().map(stage).collect();
        stages.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        stages
    }
}
