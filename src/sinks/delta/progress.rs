//! How far a sink is: the epoch that all its tables have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sinks::committed::Committed;

use super::store::LakeStore;

/// The progress of a sink, in a file of its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LakeProgress {
    /// The epoch of all tables.
    epoch: u64,
    /// When it was committed, in milliseconds since 1970.
    time_ms: u64,
    /// The newest commit of each table then. If there is another one now, somebody else was there, or this process was
    /// killed before it wrote this file.
    versions: BTreeMap<String, u64>,
}

impl LakeProgress {
    pub(super) fn new(epoch: Committed, versions: BTreeMap<String, u64>) -> LakeProgress {
        LakeProgress { epoch: epoch.epoch, time_ms: epoch.time_ms, versions }
    }

    /// Reads the progress of a sink.
    pub(super) fn read(store: &LakeStore, sink: &str) -> Result<Option<LakeProgress>> {
        let name = file_of(sink);
        let Some(bytes) = store.get(&name)? else { return Ok(None) };
        let wrong = |cause| Error::failed(format!("{}/{name}: {cause}; remove it to deliver all rows", store.place));
        serde_json::from_slice(&bytes).map(Some).map_err(wrong)
    }

    pub(super) fn write(&self, store: &LakeStore, sink: &str) -> Result<()> {
        store.put(&file_of(sink), serde_json::to_vec(self).map_err(Error::failed)?)
    }

    /// The epoch, if these are the tables, with their newest commits.
    pub(super) fn epoch_of(&self, found: &BTreeMap<String, Option<u64>>) -> Option<Committed> {
        let is_same = |(name, version): (&String, &Option<u64>)| *version == self.versions.get(name).copied();
        let are_same = found.len() == self.versions.len() && found.iter().all(is_same);
        are_same.then_some(Committed { epoch: self.epoch, time_ms: self.time_ms })
    }

    /// The epoch, for messages.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// Readers of a lake leave out what begins like this.
fn file_of(sink: &str) -> String {
    format!("_millstream/{sink}.json")
}
