//! The configuration of a job, wherever its rows come from and its tables go.

use std::ops::RangeInclusive;

use chrono_tz::Tz;

use crate::columns::DateFormat;
use crate::error::{Error, Result};
use crate::model::Day;
use crate::pipeline::Settings;
use crate::sources::{Conversion, DiscountUnit};
use crate::tables::{Catalog, DerivedColumn};
use crate::udf::Registry;

use super::{AnomalyConfig, ClusterConfig, MemoryBudget};

/// The configuration of a job. Its source and sinks are given when it starts.
///
/// ```
/// use millstream::config::JobConfig;
/// use millstream::model::Day;
/// use millstream::tables::Catalog;
///
/// let mut config = JobConfig::new(Day::from_ymd(2024, 12, 31).expect("a day"));
/// config.tables = Catalog::standard().select(&["daily_sales", "product_ranking"])?;
/// config.workers = 0;
/// let error = config.validate().expect_err("a job needs a worker");
/// assert_eq!(error.to_string(), "workers: found 0, wanted 1 to 256");
/// # Ok::<(), millstream::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct JobConfig {
    /// Worker threads per process.
    pub workers: usize,
    /// Rows that are read at a time.
    pub batch_size: usize,
    /// The time zone of day boundaries.
    pub zone: Tz,
    /// The form of dates that are texts; `None` for ISO 8601.
    pub date_format: Option<DateFormat>,
    /// What discounts are given in.
    pub discount: DiscountUnit,
    /// Settings of the tables.
    pub settings: Settings,
    /// The tables to make.
    pub tables: Catalog,
    /// The model of `order_anomalies`.
    pub anomaly: AnomalyConfig,
    /// Functions of the program, for `derived`. The built-in ones are known without it.
    pub functions: Registry,
    /// Derived columns, in evaluation order.
    pub derived: Vec<DerivedColumn>,
    /// The job fails if more rows than this are rejected.
    pub max_rejected: Option<u64>,
    /// The job fails if a greater share than this of the rows of an input table is rejected: 0 to 1.
    pub max_rejected_share: f64,
    /// True if reports include the time spent in each operator.
    pub profile: bool,
    /// True if it is to be known what each operator does and keeps while the job runs.
    pub observed: bool,
    /// True if rows of `enriched_data` may be [looked up](crate::runtime::Live::look_up) in a live job.
    pub with_lookups: bool,
    /// The memory of a batch run, beyond which orders wait in files; `None` for as much as it takes.
    pub memory: Option<MemoryBudget>,
    /// The processes of the run; `None` for a single process.
    pub cluster: Option<ClusterConfig>,
}

impl JobConfig {
    /// A job with default settings and a reference date, on all cores.
    #[must_use]
    pub fn new(as_of: Day) -> JobConfig {
        JobConfig {
            workers: cores(),
            batch_size: 10_000,
            zone: Tz::UTC,
            date_format: None,
            discount: DiscountUnit::default(),
            settings: Settings::as_of(as_of),
            tables: Catalog::standard().defaults(),
            anomaly: AnomalyConfig::default(),
            functions: Registry::default(),
            derived: Vec::new(),
            max_rejected: None,
            max_rejected_share: MAX_REJECTED_SHARE,
            profile: false,
            observed: false,
            with_lookups: false,
            memory: None,
            cluster: None,
        }
    }

    /// True if a batch run splits its load into waves, so that orders need not fit memory.
    pub(crate) fn is_in_waves(&self) -> bool {
        self.memory.is_some() && self.tables.allow_waves()
    }

    /// How values of the input are understood.
    pub(crate) fn conversion(&self) -> Conversion {
        Conversion { zone: self.zone, date_format: self.date_format.clone(), discount: self.discount }
    }

    /// Checks all settings, as far as possible without reading the input. A job does so when it starts.
    ///
    /// # Errors
    ///
    /// If a setting is invalid, or settings contradict each other. The message names the key.
    pub fn validate(&self) -> Result<()> {
        within(self.workers, 1..=MOST_WORKERS, "workers")?;
        within(self.batch_size, 1..=MOST_ROWS, "batch_size")?;
        within(self.settings.matrix_size, 1..=MOST_ROWS, "matrix_size")?;
        if !(0.0..=1.0).contains(&self.max_rejected_share) {
            let found = self.max_rejected_share;
            return Err(Error::usage(format!("max_rejected_share: found {found}, wanted a share from 0 to 1")));
        }
        for training in self.settings.training.iter().chain([&self.anomaly.training]) {
            training.check().map_err(|reason| Error::usage(format!("anomaly.{reason}")))?;
        }
        if self.anomaly.model.is_some() && self.settings.training.is_some() {
            let cause = "a model is given, and settings.training asks for another to be trained; remove one";
            return Err(Error::usage(format!("anomaly.model: {cause}")));
        }
        let has_model = self.anomaly.model.is_some() || self.tables.contains("order_anomalies");
        if self.anomaly.save_model.is_some() && !has_model {
            return Err(Error::usage("save_model: no model is trained; add order_anomalies to tables (--tables all)"));
        }
        self.all_functions()?;
        if let Some(idle) = self.derived.iter().find(|column| !self.tables.contains(&column.table)) {
            let (name, table) = (&idle.name, &idle.table);
            return Err(Error::usage(format!("udfs: {name}: the table {table} is not made; add it to tables")));
        }
        self.cluster.as_ref().map_or(Ok(()), ClusterConfig::validate)
    }

    /// The functions that derived columns can use: the built-in ones, with the price categories of the settings, and
    /// those of the program.
    ///
    /// # Errors
    ///
    /// If a function of the program has the name of a built-in one.
    pub(crate) fn all_functions(&self) -> Result<Registry> {
        Registry::built_in(&self.settings.price_categories).with_all(&self.functions)
    }
}

/// The number of cores.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_WORKERS)
}

/// If more than half of the rows are rejected, the settings are probably wrong.
pub(super) const MAX_REJECTED_SHARE: f64 = 0.5;
/// Each worker has channels to all others.
const MOST_WORKERS: usize = 256;
/// A batch, and the orders of a customer in a table, are held in memory.
const MOST_ROWS: usize = 1_000_000;

fn within(number: usize, bounds: RangeInclusive<usize>, name: &str) -> Result<()> {
    if bounds.contains(&number) {
        return Ok(());
    }
    let (least, most) = bounds.into_inner();
    Err(Error::usage(format!("{name}: found {number}, wanted {least} to {most}")))
}
