//! Run configuration: flags override the environment, which overrides the config file.

mod args;
mod cluster;
mod file;
mod functions;
pub(crate) mod keys;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::error::{Error, Result};
use crate::model::{Amount, Day, InputTable, Text, Tiers, money};
use crate::pipeline::Settings;
use crate::sinks::folder::{Codec, FileFormat, OutputFormat, Placing};
use crate::sources::Renames;
use crate::tables::{Catalog, DerivedColumn};
use crate::udf::Registry;

pub use args::RunArgs;
pub use cluster::{ClusterArgs, ClusterConfig};
pub use file::ByteSize;
use file::{ConfigFile, TierBound};
pub use functions::AnomalyConfig;

/// A complete run configuration, validated as far as possible without reading the input.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The input folder, and how it is read.
    pub input: InputConfig,
    /// The output folder.
    pub output: PathBuf,
    /// Worker threads per process.
    pub workers: usize,
    /// Settings of the tables.
    pub settings: Settings,
    /// The tables to write.
    pub tables: Catalog,
    /// The model of `order_anomalies`.
    pub anomaly: AnomalyConfig,
    /// The functions available to `derived`: the built-in ones and those registered by an embedding program.
    pub functions: Registry,
    /// Derived columns, in evaluation order.
    pub derived: Vec<DerivedColumn>,
    /// The run fails if more rows than this are rejected.
    pub max_rejected: Option<u64>,
    /// The format of output files.
    pub file_format: FileFormat,
    /// True if the report includes the time spent in each operator.
    pub profile: bool,
    /// The processes of the run; `None` for a single process.
    pub cluster: Option<ClusterConfig>,
    /// Partitioning, bucketing and sort order of `enriched_data`.
    pub placing: Placing,
}

/// The input folder, and how it is read.
#[derive(Clone, Debug)]
pub struct InputConfig {
    /// The folder with orders, products and customers.
    pub path: PathBuf,
    /// Rows per batch.
    pub batch_size: usize,
    /// The time zone of day boundaries.
    pub zone: Tz,
    /// Column names in the files, by table and canonical name.
    pub renames: BTreeMap<String, Renames>,
}

impl InputConfig {
    /// An input folder with default settings.
    #[must_use]
    pub fn at(path: &Path) -> InputConfig {
        InputConfig { path: path.to_owned(), batch_size: 10_000, zone: Tz::UTC, renames: BTreeMap::new() }
    }
}

impl RunConfig {
    /// A run with default settings and a reference date.
    #[must_use]
    pub fn new(input: &Path, output: &Path, as_of: Day) -> RunConfig {
        let settings = Settings::as_of(as_of);
        RunConfig {
            input: InputConfig::at(input),
            output: output.to_owned(),
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            functions: Registry::built_in(&settings.price_categories),
            settings,
            tables: Catalog::standard().defaults(),
            anomaly: AnomalyConfig::default(),
            derived: Vec::new(),
            max_rejected: None,
            file_format: FileFormat::default(),
            profile: false,
            cluster: None,
            placing: Placing::default(),
        }
    }

    /// Resolves flags, environment and config file.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or a setting is missing, unknown or invalid. The message names the flag or key.
    pub fn resolve(args: &RunArgs) -> Result<RunConfig> {
        let file = file::read(args.config.as_deref())?;
        let cluster = ClusterConfig::decide(&args.cluster, file.cluster.clone())?;
        Ok(RunConfig { cluster, ..RunConfig::decide(args, file)? })
    }

    /// Like [`resolve`](Self::resolve), but ignores the `cluster` settings; for inspecting the output.
    ///
    /// # Errors
    ///
    /// Like `resolve`.
    pub(crate) fn resolve_alone(args: &RunArgs) -> Result<RunConfig> {
        RunConfig::decide(args, file::read(args.config.as_deref())?)
    }

    fn decide(args: &RunArgs, file: ConfigFile) -> Result<RunConfig> {
        let input = InputConfig::decide(args, &file)?;
        let output = args.output.clone().or(file.data.output_path);
        let output = output.ok_or_else(|| missing("output folder", "--output", "OUTPUT_PATH", "data.output_path"))?;
        let workers = args.workers.or(file.processing.parallelism);
        let workers = workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
        let settings = Settings {
            as_of: day(args.as_of.as_deref().or(file.as_of.as_deref()), input.zone)?,
            tiers: tiers(file.tiers)?,
            price_categories: functions::price_categories(file.price_categories)?,
            matrix_size: at_least_one(args.matrix_size.or(file.matrix_size).unwrap_or(10), "matrix_size")?,
            training: None,
        };
        let codec = args.compression.or(file.output.compression).unwrap_or(Codec::Snappy);
        let format = args.format.or(file.output.format).unwrap_or(OutputFormat::Parquet);
        if codec == Codec::Lz4 && format != OutputFormat::Parquet {
            return Err(Error::usage("output.compression: lz4 is for Parquet; text files support gzip, zstd and none"));
        }
        let target = args.target_file_size.or(file.output.target_file_size).unwrap_or_default();
        let bucket_by = file.output.bucket_by.map(|by| match by.columns.is_empty() || by.buckets == 0 {
            true => Err(Error::usage("output.bucket_by: wanted at least one column and one bucket")),
            false => Ok((by.columns, by.buckets)),
        });
        let placing = Placing {
            partition_by: args.partition_by.clone().or(file.output.partition_by).unwrap_or_default(),
            bucket_by: bucket_by.transpose()?,
            sort_by: file.output.sort_by.unwrap_or_default(),
        };
        let functions = Registry::built_in(&settings.price_categories);
        let tables = tables(args.tables.clone().or(file.tables.map(file::TableNames::into_names)))?;
        let anomaly = functions::anomaly(args, file.anomaly)?;
        let has_model = anomaly.model.is_some() || tables.contains("order_anomalies");
        if anomaly.save_model.is_some() && !has_model {
            return Err(Error::usage("save_model: no model is trained; add order_anomalies to tables (--tables all)"));
        }
        Ok(RunConfig {
            input,
            functions,
            anomaly,
            derived: functions::derived_columns(file.udfs)?,
            output,
            workers: at_least_one(workers, "workers")?,
            settings,
            tables,
            max_rejected: args.max_rejected.or(file.max_rejected),
            file_format: FileFormat { format, codec, target_bytes: target.bytes() },
            profile: args.profile,
            cluster: None,
            placing,
        })
    }
}

impl InputConfig {
    /// Resolves only the input settings of a run.
    ///
    /// # Errors
    ///
    /// If the file can't be read, the input folder is missing, or a setting is invalid.
    pub fn resolve(args: &RunArgs) -> Result<InputConfig> {
        InputConfig::decide(args, &file::read(args.config.as_deref())?)
    }

    fn decide(args: &RunArgs, file: &ConfigFile) -> Result<InputConfig> {
        let path = args.input.clone().or(file.data.input_path.clone());
        let zone = args.time_zone.as_deref().or(file.time_zone.as_deref()).unwrap_or("UTC");
        let renames = file.columns.clone().unwrap_or_default();
        if let Some(unknown) = renames.keys().find(|name| InputTable::ALL.iter().all(|table| table.name() != *name)) {
            return Err(Error::usage(format!("columns: no table {unknown}; wanted orders, products or customers")));
        }
        Ok(InputConfig {
            path: path.ok_or_else(|| missing("input folder", "--input", "INPUT_PATH", "data.input_path"))?,
            batch_size: at_least_one(args.batch_size.or(file.processing.batch_size).unwrap_or(10_000), "batch_size")?,
            zone: zone.parse().map_err(|_| {
                Error::usage(format!(
                    "time_zone: {zone} is not a time zone; wanted a name such as Europe/Berlin or UTC"
                ))
            })?,
            renames,
        })
    }
}

fn missing(what: &str, flag: &str, variable: &str, key: &str) -> Error {
    Error::usage(format!("no {what}: give {flag}, set {variable}, or put {key} into the config file"))
}

fn at_least_one(number: usize, name: &str) -> Result<usize> {
    if number == 0 { Err(Error::usage(format!("{name}: 0 is too few, wanted at least 1"))) } else { Ok(number) }
}

fn day(text: Option<&str>, zone: Tz) -> Result<Day> {
    let Some(text) = text else {
        let now = DateTime::<Utc>::from(SystemTime::now());
        let today = Day::from_date(now.with_timezone(&zone).date_naive());
        return today.ok_or_else(|| Error::failed("the system clock is outside the years 1 to 9999"));
    };
    let date = text.parse().ok().and_then(Day::from_date);
    date.ok_or_else(|| Error::usage(format!("as_of: {text} is not a date; wanted one such as 2024-12-31")))
}

fn tiers(tiers: Option<Vec<TierBound>>) -> Result<Tiers> {
    let Some(mut tiers) = tiers else { return Ok(Tiers::default()) };
    let rest = match tiers.pop() {
        Some(TierBound { name, from: None }) => Text::from(name),
        _ => return Err(Error::usage("tiers: the last one must have no bound; it covers everything below the others")),
    };
    let bound = |tier: TierBound| {
        let from = tier.from.as_deref().and_then(money::text_to_e4);
        let e4 = from.ok_or_else(|| Error::usage(format!("tiers: the bound of {} is not a number", tier.name)))?;
        Ok((Text::from(tier.name), Amount::from_e8(e4.saturating_mul(10_000))))
    };
    let bounds = tiers.into_iter().map(bound).collect::<Result<_>>()?;
    Tiers::new(bounds, rest).map_err(|reason| Error::usage(format!("tiers: {reason}")))
}

fn tables(names: Option<Vec<String>>) -> Result<Catalog> {
    let all = Catalog::standard();
    match names {
        Some(names) if names == ["all"] => Ok(all),
        Some(names) => all.select(&names),
        None => Ok(all.defaults()),
    }
}
