//! What the tables are made by, beside the rows: the configuration, the reference date, the program.
//!
//! Who follows changes has the tables as they were made by one of these. When another takes its place, that is an epoch
//! without rows, and earlier epochs are not applied again one by one: they would not lead to the tables of then.

use std::collections::BTreeMap;

use serde_json::json;
use twox_hash::XxHash3_64;

use crate::durable::{Commit, LogWriter, Offset, State};
use crate::error::Result;
use crate::model::{Day, InputTable};
use crate::sinks::Committed;

use super::offsets::now_ms;
use super::settings::ServiceConfig;

/// A digest of what the tables are made by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MadeBy(String);

/// Its name among the offsets of a state.
const NAME: &str = "made by";

impl MadeBy {
    pub(super) fn new(config: &ServiceConfig, as_of: Day, state: &State) -> MadeBy {
        let mut job = config.job_as_of(as_of);
        // These do not change what is in the tables.
        (job.workers, job.batch_size, job.profile) = (1, 1, false);
        let columns = InputTable::ALL.map(|table| state.schema(table).to_arrow());
        let text = format!("{} {job:?} {columns:?}", env!("CARGO_PKG_VERSION"));
        MadeBy(format!("{:016x}", XxHash3_64::oneshot(text.as_bytes())))
    }

    /// Commits an epoch from which on the tables of a state are made by this, unless they were before. Returns it.
    pub(super) fn begin(&self, state: &State, log: &mut LogWriter) -> Result<Option<Committed>> {
        if state.offsets().get(NAME).and_then(|known| known.as_str()) == Some(&*self.0) {
            return Ok(None);
        }
        let epoch = Committed { epoch: state.epoch() + 1, time_ms: now_ms() };
        self.commit(epoch, log).map(|()| Some(epoch))
    }

    /// What a commit says of it.
    pub(super) fn offset(&self) -> (String, Offset) {
        (NAME.to_owned(), json!(self.0))
    }

    /// Commits an epoch from which on the tables are made by this.
    pub(super) fn commit(&self, epoch: Committed, log: &mut LogWriter) -> Result<()> {
        let Committed { epoch, time_ms } = epoch;
        let offsets = BTreeMap::from([self.offset()]);
        log.commit(&Commit { epoch, time_ms, offsets, makes_anew: true, ..Commit::default() })?;
        log.sync()
    }
}
