//! What queries have: memory, and room for what does not fit into it.

use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use crate::error::{Error, Result};

/// Limit on spilled bytes.
const SPILL_BYTES_MAX: u64 = 8 << 30;
/// Largest consumers listed in an out-of-memory error.
const TOP_CONSUMERS: usize = 3;

/// An environment with so many bytes of memory. What does not fit goes to the folder for temporary files.
pub(super) fn environment(memory: u64) -> Result<Arc<RuntimeEnv>> {
    let memory = usize::try_from(memory).unwrap_or(usize::MAX);
    let pool = TrackConsumersPool::new(FairSpillPool::new(memory), TOP_CONSUMERS.try_into().expect("it is not 0"));
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::OsTmpDirectory);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk.with_max_temp_directory_size(SPILL_BYTES_MAX))
        .build_arc()
        .map_err(Error::failed)
}
