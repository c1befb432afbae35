//! The first rows of tables that only topics have.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::config::KafkaSourceKeys;
use crate::durable::Offset;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::runtime::Progress;
use crate::service::brokers::source_config;
use crate::service::settings::ServiceConfig;
use crate::sources::kafka::TopicSpool;

use super::offsets::of_partitions;

/// The records that there were at the start, in files.
pub(in crate::service) struct FirstRecords {
    pub(in crate::service) spool: TopicSpool,
    pub(in crate::service) tables: Vec<InputTable>,
    source: String,
}

impl FirstRecords {
    /// Copies the topics of tables, each from the source that has it.
    ///
    /// # Errors
    ///
    /// As [`copy`](Self::copy).
    pub(in crate::service) fn of_sources(
        config: &ServiceConfig,
        tables: &[InputTable],
        progress: &Progress,
    ) -> Result<Vec<FirstRecords>> {
        let mut all = Vec::new();
        for keys in &config.kafka_sources {
            let has = |table: &&InputTable| keys.topics.iter().any(|(of_source, _)| of_source == *table);
            let own: Vec<InputTable> = tables.iter().filter(has).copied().collect();
            if !own.is_empty() {
                all.push(FirstRecords::copy(config, keys, own, progress)?);
            }
        }
        Ok(all)
    }

    /// Copies the topics of some tables into the state folder.
    ///
    /// # Errors
    ///
    /// If the cluster can't be reached, a topic is not there, or it lacks a column.
    fn copy(
        config: &ServiceConfig,
        keys: &KafkaSourceKeys,
        tables: Vec<InputTable>,
        progress: &Progress,
    ) -> Result<FirstRecords> {
        let source = source_config(keys)?;
        let folder = spool_folder(config, &source.name);
        tracing::info!(source = source.name, "source {}: reading its topics", source.name);
        let options = &config.run.input.files;
        let spool = TopicSpool::copy(&source, &tables, options, &folder, || progress.check_not_stopped());
        let spool = spool.map_err(|error| {
            let (name, place) = (&source.name, &source.address);
            Error::new(error.kind(), format!("source {name}: {place}: {error}"))
        })?;
        Ok(FirstRecords { spool, tables, source: source.name })
    }

    /// What the commit of the first epoch says of them.
    pub(in crate::service) fn offsets(&self) -> BTreeMap<String, Offset> {
        of_partitions(&self.source, &self.spool.offsets, self.spool.cluster.as_deref())
    }
}

/// The folder of the records of a source that are not in the log yet.
fn spool_folder(config: &ServiceConfig, source: &str) -> PathBuf {
    config.state.join(format!("kafka-{source}"))
}

/// Removes what was copied and is in the log.
pub(super) fn remove_spool(config: &ServiceConfig, source: &str) {
    let _ = fs::remove_dir_all(spool_folder(config, source));
}
