//! Profiling: the time spent in each operator, and in each table and function.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use crate::error::Result;
use crate::report::StageReport;
use crate::udf::{ColumnFunction, FunctionOutput};

use super::operator_log::OperatorLog;

/// The operator in which tables end.
pub(super) const TABLES: &str = "Tables";
/// The operator in which the rejected rows end, if functions make columns.
pub(super) const REJECTED_ROWS: &str = "Rejected rows";

/// The time spent in each stage that is not an operator, summed over workers.
#[derive(Default)]
pub(super) struct Profile(Mutex<BTreeMap<String, Duration>>);

impl Profile {
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

    /// The stages, longest first. Work on tables is added per table, not as that of the operators in which they end.
    pub(super) fn stages(&self, operators: &OperatorLog) -> Vec<StageReport> {
        let mut stages = operators.busy();
        stages.retain(|name, took| name != TABLES && name != REJECTED_ROWS && !took.is_zero());
        for (name, took) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *stages.entry(name.clone()).or_default() += *took;
        }
        let stage = |(name, took): (String, Duration)| StageReport { name, seconds: took.as_secs_f64() };
        let mut stages: Vec<_> = stages.into_iter().map(stage).collect();
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
