//! Delivers epochs to the tables of a lake.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::crash;
use crate::error::{Error, Result};
use crate::sinks::committed::Committed;
use crate::sinks::delivery::{Delivery, DeliveryError, Destination};

use super::files::FileNames;
use super::lake_table::{DeliveryFailure, LakeTable, WrittenTable};
use super::log::LogEngine;
use super::progress::LakeProgress;
use super::settings::DeltaTarget;
use super::store::LakeStore;

/// Delivers epochs.
pub(crate) struct DeltaWriter {
    target: DeltaTarget,
    names: Arc<FileNames>,
    tables: Vec<WrittenTable>,
    /// `None` until the tables are prepared.
    lake: Option<Lake>,
}

/// The tables, once they are prepared.
struct Lake {
    store: LakeStore,
    tables: Vec<LakeTable>,
}

impl Destination for DeltaWriter {
    fn prepare(&mut self) -> Result<Option<Committed>> {
        let (lake, delivered) = self.prepared().map_err(|error| self.named(&error))?;
        self.lake = Some(lake);
        Ok(delivered)
    }

    fn deliver(&mut self, delivery: &Delivery) -> Result<(), DeliveryError> {
        if self.lake.is_none() {
            self.prepare().map_err(DeliveryError::Transient)?;
        }
        let lake = self
            .lake
            .as_mut()
            .ok_or_else(|| DeliveryError::Transient(Error::failed("internal error: the tables are not prepared")))?;
        let delivered = lake.deliver(delivery, &self.target.name);
        delivered.map_err(|failure| match failure {
            DeliveryFailure::Failed(error) => DeliveryError::Transient(self.named(&error)),
            DeliveryFailure::Displaced(error) => DeliveryError::Fenced(self.named(&error)),
        })
    }
}

impl DeltaWriter {
    pub(super) fn new(target: DeltaTarget, run: &str, tables: Vec<WrittenTable>) -> DeltaWriter {
        DeltaWriter { target, names: Arc::new(FileNames::new(run)), tables, lake: None }
    }

    /// Makes or opens the tables, and keeps all others from writing to them.
    fn prepared(&self) -> Result<(Lake, Option<Committed>)> {
        let store = LakeStore::open(&self.target.path)?;
        let engine = LogEngine::new(Arc::clone(&store.store))?;
        let progress = LakeProgress::read(&store, &self.target.name)?;
        let mut tables = Vec::new();
        for table in &self.tables {
            let opened = LakeTable::open(&self.target, &engine, &store, table, &self.names);
            let named = |error: Error| Error::new(error.kind(), format!("table {}: {error}", table.info.name));
            tables.push(opened.map_err(named)?);
        }
        let mut lake = Lake { store, tables };
        // Only once all can be delivered to.
        for table in &mut lake.tables {
            let taken = table.take_over(&lake.store);
            taken.map_err(|error| Error::new(error.kind(), format!("table {}: {error}", table.name())))?;
        }
        let found = lake.tables.iter().map(|table| (table.name().to_owned(), table.version_found())).collect();
        let delivered = progress.and_then(|progress| progress.epoch_of(&found));
        if let Some(epoch) = delivered {
            lake.write_progress(epoch, &self.target.name)?;
        }
        crash::point("delta: tables taken over");
        Ok((lake, delivered))
    }

    fn named(&self, error: &Error) -> Error {
        Error::new(error.kind(), format!("{}: {error}", self.target.path.display()))
    }
}

impl Lake {
    fn deliver(&mut self, delivery: &Delivery, sink: &str) -> Result<(), DeliveryFailure> {
        for changes in &delivery.tables {
            let table = self.tables.iter_mut().find(|table| table.name() == changes.table.name);
            let table =
                table.ok_or_else(|| DeliveryFailure::Failed(Error::failed("internal error: an unknown table")))?;
            table.deliver(&self.store, delivery.epoch, delivery.is_snapshot, changes)?;
            crash::point("delta: table committed");
        }
        self.write_progress(delivery.epoch, sink).map_err(DeliveryFailure::Failed)?;
        crash::point("delta: progress written");
        self.tables.iter_mut().for_each(|table| table.tidy_up(&self.store));
        Ok(())
    }

    /// All tables have an epoch.
    fn write_progress(&self, epoch: Committed, sink: &str) -> Result<()> {
        let versions: BTreeMap<_, _> =
            self.tables.iter().map(|table| (table.name().to_owned(), table.version())).collect();
        LakeProgress::new(epoch, versions).write(&self.store, sink)
    }
}
