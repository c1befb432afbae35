//! How a batch run splits its only epoch, so that its orders need not be in memory together.

use std::env;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{JobConfig, MemoryBudget};
use crate::error::Error;
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

/// Orders wait in two operators, of which one empties while the other fills: a quarter of the memory for each leaves half
/// of it for everything else.
const SHARE_OF_WAITING: u64 = 4;
/// Two waves are on their way at a time, and a wave takes about twice its rows.
const SHARE_OF_WAVE: u64 = 32;
/// Larger waves are no faster.
const WAVE_MOST: u64 = 32 << 20;

/// The share of the memory above which orders make room for what is not orders.
const SCARCE: [u64; 2] = [3, 5];

/// The time after the last wave.
const AFTER: Epoch = 1 << 40;

impl WavesOfRun {
    /// `None` if all orders are kept: there is no budget, or a table needs them.
    pub(super) fn of(config: &JobConfig) -> Option<Arc<WavesOfRun>> {
        let MemoryBudget { bytes, folder } = config.memory.as_ref().filter(|_| config.tables.allow_waves())?;
        let of_worker = bytes / config.workers as u64;
        let share = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Some(Arc::new(WavesOfRun {
            folder: folder.clone().unwrap_or_else(env::temp_dir),
            waiting: share(of_worker / SHARE_OF_WAITING),
            scarce: bytes / SCARCE[1] * SCARCE[0],
            wave: share((of_worker / SHARE_OF_WAVE).min(WAVE_MOST)),
            spilled: AtomicU64::new(0),
        }))
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
            "{}: orders that do not fit the memory limit can't wait there: {cause}; make room, name another folder \
             (--spill-folder), or allow more memory (--memory-limit)",
            self.folder.display()
        ))
    }
}
