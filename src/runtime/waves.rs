//! Splits the only epoch of a batch run into waves, so that its orders need not be in memory together.

use std::env;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{JobConfig, MemoryBudget};
use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::operators::{Spill, WaveGate, Waves};
use crate::process_memory;

/// The memory of a run, and what was spilled for want of it.
pub(super) struct WavesOfRun {
    folder: PathBuf,
    /// The bytes of orders that wait in an operator, and of the rows of a wave, on each worker.
    waiting: usize,
    wave: usize,
    /// If the process takes more than this, memory is scarce.
    scarce: u64,
    spilled: AtomicU64,
}

/// Orders wait in two operators, of which one empties while the other fills. A quarter of the memory for each leaves
/// half of it for everything else.
const SHARE_OF_WAITING: u64 = 4;
/// Two waves are on their way at a time, and a wave takes about twice its rows.
const SHARE_OF_WAVE: u64 = 32;
/// Waves of 32 to 512 MiB took the same time at scales 1 and 4, within noise, and smaller ones less memory.
const WAVE_BYTES_MAX: u64 = 32 << 20;

/// Memory is scarce when the process takes more than this percentage of it: what is not orders needs the rest.
const SCARCE_PERCENT: u64 = 60;

/// The time after the last wave.
const AFTER: Epoch = 1 << 40;

impl WavesOfRun {
    /// `None` if all orders are kept: there is no budget, or a table does not allow waves.
    pub(super) fn of(config: &JobConfig) -> Option<Arc<WavesOfRun>> {
        let MemoryBudget { bytes, folder } = config.memory.as_ref()?;
        if !config.is_in_waves() {
            tracing::warn!("the memory limit has no effect: a table needs all orders in memory (Table::allows_waves)");
            return None;
        }
        let of_worker = bytes / config.workers as u64;
        let share = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Some(Arc::new(WavesOfRun {
            folder: folder.clone().unwrap_or_else(env::temp_dir),
            waiting: share(of_worker / SHARE_OF_WAITING),
            scarce: bytes / 100 * SCARCE_PERCENT,
            wave: share((of_worker / SHARE_OF_WAVE).min(WAVE_BYTES_MAX)),
            spilled: AtomicU64::new(0),
        }))
    }

    /// Checks that files can be made, so that a wrong folder is found before the input is read.
    ///
    /// # Errors
    ///
    /// If they can't.
    pub(super) fn check(&self) -> Result<()> {
        Spill::check(&self.folder).map_err(|cause| {
            Error::usage(format!(
                "{}: found no folder in which files can be made, for orders that do not fit the memory limit: {cause}; \
                 name another (--spill-folder)",
                self.folder.display()
            ))
        })
    }

    /// The bytes that were written to files.
    pub(super) fn spilled(&self) -> u64 {
        self.spilled.load(Ordering::Relaxed)
    }

    /// The waves of a worker. `fail` ends the run.
    pub(super) fn of_worker(self: &Arc<Self>, fail: impl Fn(Error) + 'static) -> Waves<Epoch> {
        let of_run = Arc::clone(self);
        let tell = move |spilled: io::Result<usize>| match spilled {
            Ok(bytes) => of_run.count(bytes as u64),
            Err(cause) => fail(of_run.error(&cause)),
        };
        let scarce = self.scarce;
        let is_scarce = move || process_memory::resident().is_some_and(|resident| resident > scarce);
        let spill = Spill::new(&self.folder, self.waiting, tell).with_less_while(is_scarce);
        Waves { time: |wave| wave as Epoch, after: AFTER, bytes: self.wave, spill: Some(spill), gate: WaveGate::new() }
    }

    fn count(&self, bytes: u64) {
        if self.spilled.fetch_add(bytes, Ordering::Relaxed) == 0 {
            tracing::info!("orders that do not fit the memory limit wait in {}", self.folder.display());
        }
    }

    fn error(&self, cause: &io::Error) -> Error {
        Error::failed(format!(
            "{}: orders that do not fit the memory limit can't be written or read there: {cause}; make room, name \
             another folder (--spill-folder), or allow more memory (--memory-limit)",
            self.folder.display()
        ))
    }
}
