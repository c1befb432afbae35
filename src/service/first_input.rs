//! What a service begins with: the files of the input folder, the tables of a database, and the records of topics.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::columns::InputSchema;
use crate::durable::Offset;
use crate::error::Result;
use crate::model::InputTable;
use crate::runtime::Progress;
use crate::sources::{FileLedger, FileSource, Source, SourceBatches, Split};

#[cfg(feature = "kafka")]
use super::consumed::FirstRecords;
use super::offsets::offset_name;
#[cfg(feature = "postgres")]
use super::replicated::SnapshotRows;
use super::settings::ServiceConfig;

/// The rows with which a service begins.
pub(super) struct FirstInput {
    /// Those of the tables that are not in a database.
    files: FileSource,
    /// The files that are there, also of tables in a database: they are not taken later, either.
    ledger: FileLedger,
    #[cfg(feature = "postgres")]
    rows: Option<SnapshotRows>,
    #[cfg(feature = "kafka")]
    records: Vec<FirstRecords>,
}

impl FirstInput {
    /// Opens the files, and copies the tables of the database and of topics.
    ///
    /// # Errors
    ///
    /// If a table is missing, or can't be read.
    pub(super) fn open(config: &ServiceConfig, progress: &Progress) -> Result<FirstInput> {
        let input = &config.run.input;
        input.validate()?;
        let replicated = config.postgres_source.as_ref();
        let is_replicated = |table: &InputTable| {
            replicated.is_some_and(|source| source.tables.iter().any(|(of_source, _)| of_source == table))
        };
        let (followed, tables): (Vec<_>, Vec<_>) = InputTable::ALL.into_iter().partition(is_replicated);
        // What only topics have is read from them.
        let is_there = |table: &InputTable| !FileSource::found(&input.path, &[*table], &input.files).is_empty();
        let in_topics = |table: &InputTable| {
            config.kafka_sources.iter().any(|source| source.topics.iter().any(|(of_source, _)| of_source == table))
        };
        let (only_in_topics, tables): (Vec<_>, Vec<_>) =
            tables.into_iter().partition(|table| in_topics(table) && !is_there(table));
        if !tables.is_empty() {
            tracing::info!("importing {}", input.path.display());
        }
        let files = FileSource::open_some(&input.path, &tables, &input.files)?;
        let mut ledger = FileSource::found(&input.path, &followed, &input.files);
        ledger.extend(files.ledger()?);
        #[cfg(feature = "postgres")]
        let rows = replicated.map(|source| SnapshotRows::copy(config, source, progress)).transpose()?;
        #[cfg(feature = "kafka")]
        let records = FirstRecords::of_sources(config, &only_in_topics, progress)?;
        let _ = (progress, only_in_topics);
        Ok(FirstInput {
            files,
            ledger,
            #[cfg(feature = "postgres")]
            rows,
            #[cfg(feature = "kafka")]
            records,
        })
    }

    /// What the commit of the first epoch says of it.
    pub(super) fn offsets(&self, input: &Path) -> Result<BTreeMap<String, Offset>> {
        let offset = json!({ "files": self.ledger });
        let offsets = [(offset_name(input), offset)].into_iter();
        #[cfg(feature = "postgres")]
        let offsets = offsets.chain(self.rows.as_ref().map(SnapshotRows::offset));
        #[cfg(feature = "kafka")]
        let offsets = offsets.chain(self.records.iter().flat_map(FirstRecords::offsets));
        Ok(offsets.collect())
    }

    /// What has a table.
    fn of(&self, table: InputTable) -> &dyn Source {
        #[cfg(feature = "postgres")]
        if let Some(rows) = self.rows.as_ref().filter(|rows| rows.tables.contains(&table)) {
            return &rows.snapshot;
        }
        #[cfg(feature = "kafka")]
        if let Some(records) = self.records.iter().find(|records| records.tables.contains(&table)) {
            return &records.spool;
        }
        let _ = table;
        &self.files
    }
}

impl Source for FirstInput {
    fn schema(&self, table: InputTable) -> &InputSchema {
        self.of(table).schema(table)
    }

    fn splits(&self) -> Vec<Split> {
        let of_table =
            |table: InputTable| self.of(table).splits().into_iter().filter(move |split| split.table == table);
        InputTable::ALL.into_iter().flat_map(of_table).collect()
    }

    fn read(&self, split: &Split, batch_size: usize) -> Result<SourceBatches<'_>> {
        self.of(split.table).read(split, batch_size)
    }

    fn fingerprint(&self) -> Result<BTreeMap<String, String>> {
        InputTable::ALL
            .into_iter()
            .map(|table| self.of(table).fingerprint())
            .try_fold(BTreeMap::new(), |all, some| Ok(all.into_iter().chain(some?).collect()))
    }
}
