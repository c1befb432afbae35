//! The config fingerprint that all processes of a run must share.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt::Debug;
use std::fs;

use twox_hash::XxHash64;

use crate::config::{ClusterConfig, JobConfig};

/// Settings by name, as text; two processes agree if they are equal.
pub(super) type Fingerprint = BTreeMap<String, String>;

/// The settings that the tables depend on, and those that the program shares. Paths are excluded, because folders may
/// be mounted elsewhere on other machines; so is the batch size.
pub(super) fn of_config(config: &JobConfig, cluster: &ClusterConfig) -> Fingerprint {
    let JobConfig { settings, anomaly, .. } = config;
    let tables: Vec<_> = config.tables.names().collect();
    let model = anomaly.model.as_ref().map_or("trained".into(), |path| match fs::read(path) {
        Ok(file) => format!("a file of checksum {:016x}", XxHash64::oneshot(0, &file)),
        Err(_) => "a file that can't be read".into(),
    });
    let functions: Vec<_> = config.functions.names().collect();
    let facts = [
        ("version", format!("{} for {ARCH}", env!("CARGO_PKG_VERSION"))),
        ("number of processes", cluster.hosts.len().to_string()),
        ("workers", config.workers.to_string()),
        ("as_of", settings.as_of.to_string()),
        ("time_zone", config.zone.to_string()),
        ("date_format", text(&config.date_format)),
        ("discount", text(&config.discount)),
        ("tables", tables.join(", ")),
        ("tiers", text(&settings.tiers)),
        ("price_categories", text(&settings.price_categories)),
        ("matrix_size", settings.matrix_size.to_string()),
        ("udfs", text(&config.derived)),
        ("max_rejected", text(&config.max_rejected)),
        ("max_rejected_share", text(&config.max_rejected_share)),
        ("functions", functions.join(", ")),
        // Where one process splits its load, all must: they share what the tables are made of.
        ("memory limit", if config.is_in_waves() { "yes" } else { "no" }.to_owned()),
        ("anomaly.model", model),
        ("anomaly", text(&anomaly.training)),
    ];
    facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).chain(cluster.shared.clone()).collect()
}

fn text(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// The first differing setting: its name, their value and ours. A differing version takes precedence.
pub(super) fn difference<'a>(theirs: &'a Fingerprint, ours: &'a Fingerprint) -> Option<(&'a str, &'a str, &'a str)> {
    let names = ["version"].into_iter().chain(theirs.keys().chain(ours.keys()).map(String::as_str));
    let mut facts = names.map(|name| (name, fact(theirs, name), fact(ours, name)));
    facts.find(|(_, theirs, ours)| theirs != ours)
}

fn fact<'a>(facts: &'a Fingerprint, name: &str) -> &'a str {
    facts.get(name).map_or("nothing", String::as_str)
}
