//! Every setting of the config file has a way in code, and both are checked alike.

use std::fs;
use std::path::Path;

use super::*;
use crate::columns::DateFormat;
use crate::forest::Training;
use crate::model::{Amount, Price, PriceCategories, Tiers};
use crate::sinks::folder::{Codec, OutputFormat};
use crate::sources::{CsvDialect, DiscountUnit, FileOrder, VersionColumn};
use crate::tables::{Catalog, DerivedColumn, OnFailure};

/// The setting's keys, its YAML, and the same in code.
type Setting = (&'static [&'static str], &'static str, fn(&mut RunConfig));

const SETTINGS: &[Setting] = &[
    (&["data.input_path"], "data: {input_path: other}", |config| config.input.path = "other".into()),
    (&["data.output_path"], "data: {output_path: other}", |config| config.output.path = "other".into()),
    (&["processing.batch_size"], "processing: {batch_size: 7}", |config| config.job.batch_size = 7),
    (&["processing.parallelism"], "processing: {parallelism: 3}", |config| config.job.workers = 3),
    (&["output.format"], "output: {format: csv}", |config| config.output.format.format = OutputFormat::Csv),
    (&["output.compression"], "output: {compression: zstd}", |config| config.output.format.codec = Codec::Zstd),
    (&["output.partition_by"], "output: {partition_by: [year]}", |config| {
        config.output.placing.partition_by = vec!["year".into()];
    }),
    (&["output.target_file_size"], "output: {target_file_size: 1MB}", |config| {
        config.output.format.target_bytes = 1 << 20;
    }),
    (
        &["output.bucket_by.columns", "output.bucket_by.buckets"],
        "output: {bucket_by: {columns: [a], buckets: 2}}",
        |config| config.output.placing.bucket_by = Some((vec!["a".into()], 2)),
    ),
    (&["output.sort_by"], "output: {sort_by: [a]}", |config| config.output.placing.sort_by = vec!["a".into()]),
    (&["as_of"], "as_of: 2023-01-02", |config| {
        config.job.settings.as_of = Day::from_ymd(2023, 1, 2).expect("a day");
    }),
    (&["time_zone"], "time_zone: Europe/Berlin", |config| {
        config.job.zone = "Europe/Berlin".parse().expect("a zone");
    }),
    (&["tiers.name", "tiers.from"], "tiers: [{name: VIP, from: 12.5}, {name: Other}]", |config| {
        let vip = ("VIP".into(), "12.5".parse::<Amount>().expect("an amount"));
        config.job.settings.tiers = Tiers::new(vec![vip], "Other".into()).expect("tiers");
    }),
    (&["matrix_size"], "matrix_size: 3", |config| config.job.settings.matrix_size = 3),
    (
        &["price_categories.known.name", "price_categories.known.below", "price_categories.unknown"],
        "price_categories: {known: [{name: Low, below: 2}, {name: High}], unknown: None}",
        |config| {
            let low = ("Low".into(), "2".parse::<Price>().expect("a price"));
            let categories = PriceCategories::new(vec![low], "High".into(), "None".into());
            config.job.settings.price_categories = categories.expect("categories");
        },
    ),
    (
        &["anomaly.seed", "anomaly.sample", "anomaly.trees", "anomaly.points_per_tree", "anomaly.contamination"],
        "anomaly: {seed: 1, sample: 2, trees: 3, points_per_tree: 4, contamination: 0.5}",
        |config| {
            let training = Training { seed: 1, sample: 2, trees: 3, points_per_tree: 4, contamination: 0.5 };
            config.job.anomaly.training = training;
        },
    ),
    (&["anomaly.model", "anomaly.save_model"], "anomaly: {model: a, save_model: b}", |config| {
        config.job.anomaly.model = Some("a".into());
        config.job.anomaly.save_model = Some("b".into());
    }),
    (
        &["udfs.function", "udfs.table", "udfs.columns", "udfs.as", "udfs.on_failure", "udfs.memory"],
        "udfs: [{function: f, table: daily_sales, columns: [a], as: b, on_failure: null, memory: 1KB}]",
        |config| {
            config.job.derived.push(DerivedColumn {
                table: "daily_sales".into(),
                name: "b".into(),
                function: "f".into(),
                columns: vec!["a".into()],
                on_failure: Some(OnFailure::Null),
                memory_bytes: Some(1024),
            });
        },
    ),
    (&["tables"], "tables: [daily_sales]", |config| {
        config.job.tables = Catalog::standard().select(&["daily_sales"]).expect("a table");
    }),
    (&["columns"], "columns: {orders: {order_id: no}}", |config| {
        let renames = [("order_id".to_owned(), "no".into())].into_iter().collect();
        config.input.files.columns.insert("orders".into(), renames);
    }),
    (
        &["csv.delimiter", "csv.quote", "csv.escape", "csv.nulls"],
        r#"csv: {delimiter: ";", quote: "'", escape: "\\", nulls: "NULL"}"#,
        |config| {
            let (quote, escape) = (Some(b'\''), Some(b'\\'));
            config.input.files.csv = CsvDialect { delimiter: b';', quote, escape, nulls: vec!["NULL".into()] };
        },
    ),
    (&["date_format"], "date_format: '%d.%m.%Y'", |config| {
        config.job.date_format = Some(DateFormat::new("%d.%m.%Y").expect("a format"));
    }),
    (&["discount"], "discount: percent", |config| config.job.discount = DiscountUnit::Percent),
    (&["version"], "version: {orders: updated_at}", |config| {
        let columns = [("orders".to_owned(), "updated_at".to_owned())].into_iter().collect();
        config.input.files.version = Some(VersionColumn::ByTable(columns));
    }),
    (&["file_order"], "file_order: modified", |config| config.input.files.order = FileOrder::Modified),
    (&["max_rejected"], "max_rejected: 5", |config| config.job.max_rejected = Some(5)),
    (&["max_rejected_share"], "max_rejected_share: 0.25", |config| config.job.max_rejected_share = 0.25),
    (
        &["cluster.process", "cluster.hosts", "cluster.wait_seconds"],
        "cluster: {process: 1, hosts: ['a:1', 'b:2'], wait_seconds: 9}",
        |config| {
            let mut cluster = ClusterConfig::new(1, vec!["a:1".into(), "b:2".into()]);
            cluster.wait = std::time::Duration::from_secs(9);
            config.job.cluster = Some(cluster);
        },
    ),
];

/// Keys that set nothing of their own.
const WITHOUT_SETTING: &[&str] = &["processing.cache_enabled", "cluster.hosts_file", "cluster.secret_file"];

/// Keys of `serve`, whose tests are beside them.
const OF_SERVICES: &[&str] = &[
    "data.checkpoint_path",
    "durability",
    "late.after",
    "late.then",
    "views",
    "serve.listen",
    "serve.postgres",
    "serve.query_memory",
    "serve.query_timeout",
    "serve.token",
    "serve.token_file",
    "serve.tls.cert",
    "serve.tls.key",
    "sources.name",
    "sources.type",
    "sources.path",
    "sources.url",
    "sources.publication",
    "sources.slot",
    "sources.tables",
    "sources.topics",
    "sources.start",
    "sources.group",
    "sources.brokers",
    "sources.format",
    "sources.properties",
    "sources.schema_registry.ca",
    "sources.schema_registry.password",
    "sources.schema_registry.url",
    "sources.schema_registry.username",
    "sinks.name",
    "sinks.type",
    "sinks.publish.every",
    "sinks.publish.on_stop",
    "sinks.path",
    "sinks.mode",
    "sinks.retention",
    "sinks.url",
    "sinks.schema",
    "sinks.tables",
    "sinks.prefix",
    "sinks.partitions",
    "sinks.brokers",
    "sinks.format",
    "sinks.properties",
    "sinks.schema_registry.ca",
    "sinks.schema_registry.password",
    "sinks.schema_registry.url",
    "sinks.schema_registry.username",
];

fn base() -> RunConfig {
    let mut config = RunConfig::new(Path::new("in"), Path::new("out"), Day::from_ymd(2024, 12, 31).expect("a day"));
    config.job.workers = 2;
    config
}

fn resolved(yaml: &str) -> Result<RunConfig> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    fs::write(&path, yaml).expect("written");
    let unless = |key: &str, value: &str| (!yaml.contains(key)).then(|| value.to_owned());
    RunConfig::resolve(&RunArgs {
        config: Some(path),
        input: unless("input_path", "in").map(Into::into),
        output: unless("output_path", "out").map(Into::into),
        workers: unless("parallelism", "2").map(|workers| workers.parse().expect("a number")),
        as_of: unless("as_of", "2024-12-31"),
        ..RunArgs::default()
    })
}

#[test]
fn every_setting_of_the_config_file_can_be_made_in_code() {
    let default = format!("{:?}", base());
    for (_, yaml, set) in SETTINGS {
        let mut config = base();
        set(&mut config);
        let in_code = format!("{config:?}");
        assert_ne!(in_code, default, "{yaml} changes nothing");
        assert_eq!(in_code, format!("{:?}", resolved(yaml).expect(yaml)), "{yaml}");
    }
}

#[test]
fn the_table_above_has_all_keys() {
    let known = keys::known();
    let is_group = |path: &str| known.iter().any(|(group, _)| *group == path);
    let paths = known.iter().flat_map(|(group, keys)| keys.iter().map(|key| keys::join(group, key)));
    let mut leaves: Vec<String> = paths.filter(|path| !is_group(path)).collect();
    let listed = SETTINGS.iter().flat_map(|(keys, ..)| *keys).chain(WITHOUT_SETTING).chain(OF_SERVICES);
    let mut listed: Vec<String> = listed.map(|key| (*key).to_owned()).collect();
    leaves.sort();
    listed.sort();
    assert_eq!(listed, leaves);
}

#[test]
fn what_the_config_file_refuses_is_refused_in_code() {
    let refused: &[(&str, fn(&mut RunConfig))] = &[
        ("processing: {parallelism: 0}", |config| config.job.workers = 0),
        ("processing: {batch_size: 0}", |config| config.job.batch_size = 0),
        ("matrix_size: 0", |config| config.job.settings.matrix_size = 0),
        ("anomaly: {contamination: 0.7}", |config| config.job.anomaly.training.contamination = 0.7),
        ("anomaly: {save_model: a}", |config| config.job.anomaly.save_model = Some("a".into())),
        ("columns: {shops: {a: b}}", |config| {
            config.input.files.columns.insert("shops".into(), Default::default());
        }),
        ("output: {format: csv, compression: lz4}", |config| {
            (config.output.format.format, config.output.format.codec) = (OutputFormat::Csv, Codec::Lz4);
        }),
        ("output: {bucket_by: {columns: [], buckets: 2}}", |config| {
            config.output.placing.bucket_by = Some((Vec::new(), 2));
        }),
        ("output: {bucket_by: {columns: [a], buckets: 0}}", |config| {
            config.output.placing.bucket_by = Some((vec!["a".into()], 0));
        }),
        ("cluster: {process: 0, hosts: [a]}", |config| {
            config.job.cluster = Some(ClusterConfig::new(0, vec!["a".into()]));
        }),
        ("cluster: {process: 2, hosts: ['a:1', 'b:1']}", |config| {
            config.job.cluster = Some(ClusterConfig::new(2, vec!["a:1".into(), "b:1".into()]));
        }),
        ("tables: [daily_sales]\nudfs: [{function: weekday, columns: [order_date], as: day}]", |config| {
            config.job.tables = Catalog::standard().select(&["daily_sales"]).expect("a table");
            config.job.derived.push(DerivedColumn {
                table: "enriched_data".into(),
                name: "day".into(),
                function: "weekday".into(),
                columns: vec!["order_date".into()],
                on_failure: None,
                memory_bytes: None,
            });
        }),
    ];
    for (yaml, set) in refused {
        let mut config = base();
        config.validate().expect("the base is valid");
        set(&mut config);
        let in_code = config.validate().expect_err(yaml).to_string();
        assert_eq!(in_code, resolved(yaml).expect_err(yaml).to_string(), "{yaml}");
    }
}
