//! Configuration from flags, the environment and the config file, in this order of precedence.

use std::path::PathBuf;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::columns::DateFormat;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::model::{Amount, Day, Text, Tiers, money};
use crate::objects::local_path;
use crate::pipeline::Settings;
use crate::sinks::folder::{FileFormat, Placing};
use crate::sources::{CsvDialect, FileOptions};
use crate::tables::{Catalog, EnrichedDataTable, Table};
use crate::udf::Registry;

use super::file::{ConfigFile, CsvKeys, TierBound};
use super::file_on_disk::read;
use super::table_names::TableNames;
use super::{ClusterConfig, InputConfig, JobConfig, OutputConfig, RunArgs, RunConfig, functions, job};

impl RunConfig {
    /// Resolves flags, environment and config file.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or a setting is missing, unknown or invalid. The message names the flag or key.
    pub fn resolve(args: &RunArgs) -> Result<RunConfig> {
        let file = read(args.config.as_deref())?;
        let (input, output) = (input(args, &file)?, output(args, &file)?);
        let ignored = [("processing.cache_enabled", file.processing.cache_enabled.is_some())];
        let config = RunConfig { job: job(args, file, true)?, input, output };
        let is_idle =
            config.output.placing != Placing::default() && !config.job.tables.contains(EnrichedDataTable.name());
        let idle = ("output.partition_by, bucket_by or sort_by, as enriched_data is not written,", is_idle);
        for (key, _) in ignored.into_iter().chain([idle]).filter(|(_, is_set)| *is_set) {
            tracing::warn!("config: {key} has no effect");
        }
        Ok(config)
    }
}

impl JobConfig {
    /// Resolves the settings of the job; those of the input and output folder are not used.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or a setting is missing, unknown or invalid. The message names the flag or key.
    pub fn resolve(args: &RunArgs) -> Result<JobConfig> {
        job(args, read(args.config.as_deref())?, true)
    }

    /// Like [`resolve`](Self::resolve), but ignores the `cluster` settings; for inspecting the output.
    ///
    /// # Errors
    ///
    /// Like `resolve`.
    #[cfg(feature = "cli")]
    pub(crate) fn resolve_alone(args: &RunArgs) -> Result<JobConfig> {
        job(args, read(args.config.as_deref())?, false)
    }
}

impl InputConfig {
    /// Resolves the settings of the input folder.
    ///
    /// # Errors
    ///
    /// If the file can't be read, the input folder is missing, or a setting is invalid.
    pub fn resolve(args: &RunArgs) -> Result<InputConfig> {
        input(args, &read(args.config.as_deref())?)
    }
}

impl OutputConfig {
    /// Resolves the settings of the output folder.
    ///
    /// # Errors
    ///
    /// If the file can't be read, the output folder is missing, or a setting is invalid.
    pub fn resolve(args: &RunArgs) -> Result<OutputConfig> {
        output(args, &read(args.config.as_deref())?)
    }
}

fn job(args: &RunArgs, file: ConfigFile, in_cluster: bool) -> Result<JobConfig> {
    let cluster = if in_cluster { ClusterConfig::decide(&args.cluster, file.cluster)? } else { None };
    let zone = zone(args.time_zone.as_deref().or(file.time_zone.as_deref()).unwrap_or("UTC"))?;
    let settings = Settings {
        as_of: day(args.as_of.as_deref().or(file.as_of.as_deref()), zone)?,
        tiers: tiers(file.tiers)?,
        price_categories: functions::price_categories(file.price_categories)?,
        matrix_size: args.matrix_size.or(file.matrix_size).unwrap_or(10),
        training: None,
    };
    let config = JobConfig {
        workers: args.workers.or(file.processing.parallelism).unwrap_or_else(job::cores),
        batch_size: args.batch_size.or(file.processing.batch_size).unwrap_or(10_000),
        zone,
        date_format: file.date_format.as_deref().map(DateFormat::new).transpose()?,
        discount: file.discount.unwrap_or_default(),
        settings,
        tables: tables(args.tables.clone().or(file.tables.map(TableNames::into_names)))?,
        anomaly: functions::anomaly(args, file.anomaly),
        functions: Registry::default(),
        derived: functions::derived_columns(file.udfs)?,
        max_rejected: args.max_rejected.or(file.max_rejected),
        max_rejected_share: args.max_rejected_share.or(file.max_rejected_share).unwrap_or(job::MAX_REJECTED_SHARE),
        profile: args.profile,
        observed: false,
        with_lookups: false,
        memory: None,
        cluster,
    };
    config.validate()?;
    Ok(config)
}

/// The input folder of a service whose tables are all in other systems.
const NO_INPUT: &str = "/(no input folder)";

fn input(args: &RunArgs, file: &ConfigFile) -> Result<InputConfig> {
    let is_elsewhere = |table: &InputTable| file.sources.iter().any(|source| source.has(*table));
    let nowhere = || InputTable::ALL.iter().all(is_elsewhere).then(|| PathBuf::from(NO_INPUT));
    let path = args.input.clone().or(file.data.input_path.clone()).or_else(nowhere);
    let path = path.ok_or_else(|| missing("input folder", "--input", "INPUT_PATH", "data.input_path"))?;
    let path = local_path(path);
    let renames = file.columns.iter().filter_map(|(table, names)| Some((table.clone(), names.clone()?)));
    let files = FileOptions {
        columns: renames.collect(),
        version: file.version.clone(),
        order: file.file_order.unwrap_or_default(),
        csv: dialect(&file.csv)?,
        ..FileOptions::default()
    };
    let config = InputConfig { path, files };
    config.validate()?;
    Ok(config)
}

fn dialect(keys: &CsvKeys) -> Result<CsvDialect> {
    let default = CsvDialect::default();
    let one = |key: &str, text: &String| match text.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(Error::usage(format!("csv.{key}: found {text:?}, wanted one ASCII character"))),
    };
    let delimiter = keys.delimiter.as_ref().map(|text| one("delimiter", text)).transpose()?;
    let quote = match keys.quote.as_ref() {
        None => default.quote,
        Some(none) if none.is_empty() => None,
        Some(text) => Some(one("quote", text)?),
    };
    let escape = keys.escape.as_ref().map(|text| one("escape", text)).transpose()?;
    let delimiter = delimiter.unwrap_or(default.delimiter);
    Ok(CsvDialect { delimiter, quote, escape, nulls: keys.nulls.clone() })
}

fn output(args: &RunArgs, file: &ConfigFile) -> Result<OutputConfig> {
    let path = args.output.clone().or(file.data.output_path.clone());
    let path = path.ok_or_else(|| missing("output folder", "--output", "OUTPUT_PATH", "data.output_path"))?;
    let path = local_path(path);
    let (keys, default) = (file.output.clone(), FileFormat::default());
    let target = args.target_file_size.or(keys.target_file_size).unwrap_or_default();
    let format = FileFormat {
        format: args.format.or(keys.format).unwrap_or(default.format),
        codec: args.compression.or(keys.compression).unwrap_or(default.codec),
        target_bytes: target.bytes(),
        ..default
    };
    let placing = Placing {
        partition_by: args.partition_by.clone().or(keys.partition_by).unwrap_or_default(),
        bucket_by: keys.bucket_by.map(|by| (by.columns, by.buckets)),
        sort_by: keys.sort_by.unwrap_or_default(),
    };
    let config = OutputConfig { path, format, placing };
    config.validate()?;
    Ok(config)
}

fn missing(what: &str, flag: &str, variable: &str, key: &str) -> Error {
    Error::usage(format!("no {what}: give {flag}, set {variable}, or put {key} into the config file"))
}

fn zone(name: &str) -> Result<Tz> {
    let unknown = "is not a time zone; wanted a name such as Europe/Berlin or UTC";
    let zone = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
    zone.copied().ok_or_else(|| Error::usage(format!("time_zone: {name} {unknown}")))
}

fn day(text: Option<&str>, zone: Tz) -> Result<Day> {
    let Some(text) = text.filter(|text| *text != "today") else {
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
        Some(names) => {
            let (every, named): (Vec<_>, Vec<_>) =
                names.iter().map(|name| name.to_lowercase()).partition(|name| name == "all");
            let selected = all.select(&named)?;
            Ok(if every.is_empty() { selected } else { all })
        }
        None => Ok(all.defaults()),
    }
}
