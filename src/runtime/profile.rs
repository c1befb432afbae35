//! Profiling: the time spent in each operator, from timely's log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

use crate::error::Result;
use crate::report::StageReport;
use crate::udf::{ColumnFunction, FunctionOutput};

/// The operator in which tables end.
pub(super) const TABLES: &str = "Tables";
/// The operator in which the rejected rows end, if functions make columns.
pub(super) const REJECTED_ROWS: &str = "Rejected rows";

/// The time spent in each operator, summed over workers.
#[derive(Default)]
pub(super) struct Profile(Mutex<BTreeMap<String, Duration>>);

impl Profile {
    /// Starts profiling a worker. Must be called before the worker builds dataflows.
    pub(super) fn follow(self: &Arc<Self>, worker: &Worker) {
        let Some(mut registry) = worker.log_register() else { return };
        let profile = Arc::clone(self);
        let mut names: HashMap<usize, String> = HashMap::new();
        // The stack of running operators, and the time since which the innermost one has been running.
        let mut running: Vec<usize> = Vec::new();
        let mut since = Duration::ZERO;
        registry.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
            for (at, event) in events.iter().flat_map(|events| events.iter()) {
                match event {
                    TimelyEvent::Operates(operator) => drop(names.insert(operator.id, operator.name.clone())),
                    TimelyEvent::Schedule(schedule) => {
                        // Work on tables is added separately, per table.
                        let name = running
                            .last()
                            .and_then(|id| names.get(id))
                            .filter(|name| *name != TABLES && *name != REJECTED_ROWS);
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

    /// Wraps a function so that its calls are profiled under its name. They also count for the stage of the table.
    pub(super) fn timed(self: &Arc<Self>, function: Arc<dyn ColumnFunction>) -> Arc<dyn ColumnFunction> {
        Arc::new(Timed { function, profile: Arc::clone(self) })
    }

    /// Adds time to a stage.
    pub(super) fn add(&self, name: &str, took: Duration) {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match stages.get_mut(name) {
            Some(sum) => *sum += took,
            None => drop(stages.insert(name.to_owned(), took)),
        }
    }

    /// The stages, longest first.
    pub(super) fn stages(&self) -> Vec<StageReport> {
        let stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stage =
            |(name, took): (&String, &Duration)| StageReport { name: name.clone(), seconds: took.as_secs_f64() };
        let mut stages: Vec<_> = stages.iter().map(stage).collect();
        stages.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        stages
    }
}

/// A profiled function.
struct Timed {
    function: Arc<dyn ColumnFunction>,
    profile: Arc<Profile>,
}

impl ColumnFunction for Timed {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn data_types(&self) -> Vec<DataType> {
        self.function.data_types()
    }

    fn accepts(&self, found: &[DataType]) -> Vec<bool> {
        self.function.accepts(found)
    }

    fn returns(&self) -> DataType {
        self.function.returns()
    }

    fn call_columns(&self, columns: &[ArrayRef]) -> Result<FunctionOutput> {
        let started = Instant::now();
        let called = self.function.call_columns(columns);
        self.profile.add(self.name(), started.elapsed());
        called
    }

    fn gives_null(&self) -> bool {
        self.function.gives_null()
    }

    fn with_memory(&self, bytes_max: Option<usize>) -> Arc<dyn ColumnFunction> {
        self.profile.timed(self.function.with_memory(bytes_max))
    }
}
