//! The settings that are in force, where each is from, and the defaults.

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::Value;

use crate::redacted::{HIDDEN, is_reference, is_secret, without_credentials, without_secrets};

/// A setting.
struct Setting {
    /// Its key in the config file; none for one that only a flag has.
    key: Option<&'static str>,
    /// Its flag, which the environment variable is of; none for one that only the file has.
    flag: Option<&'static str>,
    /// Its default, as the documentation has it.
    default: &'static str,
}

const fn both(key: &'static str, flag: &'static str, default: &'static str) -> Setting {
    Setting { key: Some(key), flag: Some(flag), default }
}

const fn key(key: &'static str, default: &'static str) -> Setting {
    Setting { key: Some(key), flag: None, default }
}

const fn flag(flag: &'static str, default: &'static str) -> Setting {
    Setting { key: None, flag: Some(flag), default }
}

/// All settings of `serve`, in the order of `docs/config.md`.
const SETTINGS: &[Setting] = &[
    flag("config", "none"),
    both("data.input_path", "input", "required"),
    both("data.output_path", "output", "required"),
    both("processing.batch_size", "batch-size", "10000"),
    both("processing.parallelism", "workers", "the machine's cores"),
    both("as_of", "as-of", "today, in time_zone"),
    both("time_zone", "time-zone", "UTC"),
    both("tables", "tables", "the seven default tables"),
    key("views", "none"),
    both("matrix_size", "matrix-size", "10"),
    key("tiers", "VIP from 10000, Gold from 5000, Silver from 1000, Bronze"),
    key("price_categories", "Low below 100, Medium below 500, High; Unknown"),
    both("max_rejected", "max-rejected", "no limit"),
    both("max_rejected_share", "max-rejected-share", "0.5"),
    key("columns", "none"),
    key("version", "none"),
    key("file_order", "natural"),
    key("csv", "commas"),
    key("date_format", "ISO 8601"),
    key("discount", "fraction"),
    key("udfs", "none"),
    both("output.format", "format", "parquet"),
    both("output.compression", "compression", "snappy"),
    both("output.target_file_size", "target-file-size", "128MB"),
    both("output.partition_by", "partition-by", "none"),
    key("output.bucket_by", "none"),
    key("output.sort_by", "none"),
    both("anomaly.model", "model", "a model is trained"),
    both("anomaly.save_model", "save-model", "not saved"),
    key("anomaly.seed", "42"),
    key("anomaly.sample", "100000"),
    key("anomaly.trees", "100"),
    key("anomaly.points_per_tree", "256"),
    key("anomaly.contamination", "0.1"),
    both("cluster.process", "process", "–"),
    both("cluster.hosts", "hosts", "–"),
    both("cluster.hosts_file", "hosts-file", "–"),
    both("cluster.secret_file", "secret-file", "none"),
    both("cluster.wait_seconds", "wait", "300"),
    flag("memory-limit", "95 % of the machine's or container's memory"),
    both("data.checkpoint_path", "state", "OUTPUT/.millstream/state"),
    both("durability", "durability", "fsync"),
    key("late", "accepted"),
    key("sources", "the input folder"),
    both("sinks", "publish-every", "when it stops"),
    both("serve.listen", "listen", "nowhere"),
    both("serve.postgres", "postgres", "nowhere"),
    key("serve.query_memory", "512MB"),
    key("serve.query_timeout", "5m"),
    key("serve.token", "MILLSTREAM_TOKEN, or none"),
    both("serve.token_file", "token-file", "none"),
    key("serve.tls", "none"),
    flag("checkpoint-every", "64MB"),
    flag("profile", "off"),
    flag("status", "none"),
    flag("log", "text"),
];

/// A line for each setting: its name, its value, where that is from, and the default.
pub(super) fn lines(matches: &ArgMatches, command: &clap::Command, file: &Value) -> Vec<String> {
    let mut rows = vec![["setting", "value", "from", "default"].map(str::to_owned)];
    for setting in SETTINGS {
        let (value, from) = of_flag(setting, matches, command)
            .or_else(|| of_file(setting, file))
            .unwrap_or_else(|| (setting.default.to_owned(), "default".to_owned()));
        rows.push([setting.name(), value, from, setting.default.to_owned()]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, value, from) = (width(0), width(1).min(60), width(2));
    let line = |row: &[String; 4]| format!("{:name$}  {:value$}  {:from$}  {}", row[0], row[1], row[2], row[3]);
    rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
}

impl Setting {
    fn name(&self) -> String {
        self.key.map_or_else(|| format!("--{}", self.flag.unwrap_or_default()), str::to_owned)
    }
}

fn of_flag(setting: &Setting, matches: &ArgMatches, command: &clap::Command) -> Option<(String, String)> {
    let arg = command.get_arguments().find(|arg| arg.get_long() == setting.flag && arg.get_long().is_some())?;
    let id = arg.get_id().as_str();
    let from = match matches.value_source(id)? {
        ValueSource::CommandLine => format!("--{}", arg.get_long()?),
        ValueSource::EnvVariable => arg.get_env()?.to_string_lossy().into_owned(),
        _ => return None,
    };
    let values: Vec<_> = matches.get_raw(id)?.map(|value| value.to_string_lossy().into_owned()).collect();
    Some((values.join(","), from))
}

fn of_file(setting: &Setting, file: &Value) -> Option<(String, String)> {
    let value = setting.key?.split('.').try_fold(file, |value, key| value.get(key))?;
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        value => without_secrets(value.clone()).to_string(),
    };
    let is_hidden = setting.key.is_some_and(is_secret) && !is_reference(&text);
    let text = if is_hidden { HIDDEN.to_owned() } else { without_credentials(&text) };
    Some((text, "config file".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_defaults_are_those_of_the_documentation() {
        let documented = include_str!("../../docs/config.md");
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let rows = documented.lines().skip_while(|line| !line.starts_with("| key ")).skip(2);
        let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).map(cells).collect();
        // A link, without its target.
        let plain = |cell: &str| cell.split("](").next().unwrap_or_default().replace(['`', '['], "");
        let is_of_run =
            |row: &&Vec<String>| ["`--report", "`--spill-folder"].iter().any(|flag| row[2].starts_with(flag));
        let is_of_serve = |row: &&Vec<String>| !is_of_run(row) && row[4] != "`info`";
        let wanted = rows.iter().filter(is_of_serve).map(|row| {
            let flag = plain(&row[2]).split(' ').next().unwrap_or_default().trim_start_matches("--").to_owned();
            (plain(&row[1]), flag, plain(&row[4]))
        });
        let or_none = |name: Option<&str>| name.unwrap_or("–").to_owned();
        let found = SETTINGS.iter();
        let found = found.map(|known| (or_none(known.key), or_none(known.flag), known.default.to_owned()));
        assert_eq!(found.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    }
}
