//! The known keys of a config file. The error for an unknown key suggests the nearest known one.

use serde_json::Value;

use crate::suggest::nearest;

/// The keys below each key; `""` is the top level.
const KNOWN: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "data",
            "processing",
            "output",
            "as_of",
            "time_zone",
            "tiers",
            "matrix_size",
            "price_categories",
            "anomaly",
            "udfs",
            "tables",
            "columns",
            "max_rejected",
            "cluster",
        ],
    ),
    ("data", &["input_path", "output_path", "checkpoint_path"]),
    ("processing", &["batch_size", "parallelism", "cache_enabled"]),
    ("output", &["format", "compression", "partition_by", "target_file_size", "bucket_by", "sort_by"]),
    ("output.bucket_by", &["columns", "buckets"]),
    ("tiers", &["name", "from"]),
    ("price_categories", &["known", "unknown"]),
    ("price_categories.known", &["name", "below"]),
    ("anomaly", &["model", "save_model", "seed", "sample", "trees", "points_per_tree", "contamination"]),
    ("udfs", &["function", "table", "columns", "as", "on_failure", "memory"]),
    ("cluster", &["process", "hosts", "hosts_file", "wait_seconds"]),
];

/// Checks for unknown keys.
pub(super) fn check(document: &Value) -> Result<(), String> {
    match document {
        Value::Object(_) => check_below("", document),
        _ => Err("wanted a mapping of keys, such as `data:`".into()),
    }
}

fn check_below(path: &str, value: &Value) -> Result<(), String> {
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| check_below(path, item));
    }
    let (Value::Object(entries), Some((_, known))) = (value, KNOWN.iter().find(|(known, _)| *known == path)) else {
        return Ok(());
    };
    for (key, value) in entries {
        if !known.contains(&key.as_str()) {
            let hint = match nearest(key, known) {
                Some(nearest) => format!("did you mean {}?", join(path, nearest)),
                None => format!("known are {}", known.join(", ")),
            };
            return Err(format!("unknown key {}: {hint}", join(path, key)));
        }
        check_below(&join(path, key), value)?;
    }
    Ok(())
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}
