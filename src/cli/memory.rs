//! A limit of memory: a run that exceeds it ends with an error, where the kernel would kill it without a word.

use std::fs;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::grouped::grouped;
use crate::process_memory;
use crate::runtime::{Phase, Progress};

/// Memory is measured again after as long as it takes to use up what is left, but no sooner than this.
const SHORTEST: Duration = Duration::from_millis(50);
/// And no later.
const LONGEST: Duration = Duration::from_secs(1);
/// How many bytes a process is assumed to take in a millisecond.
const BYTES_A_MS: u64 = 16 << 20;

/// Ends the process with an error once it takes more than `limit` bytes, or without one, nearly all that the machine or
/// the container has. Its files are removed by the next run. A run that is committing its tables finishes that.
pub(super) fn limit(limit: Option<u64>, progress: &Arc<Progress>, status: Option<&Path>) {
    let Some(limit) = limit.or_else(available) else { return };
    let (progress, status) = (Arc::clone(progress), status.map(Path::to_owned));
    thread::spawn(move || {
        let mut pause = SHORTEST;
        loop {
            thread::sleep(pause);
            let Some(resident) = process_memory::resident() else { return };
            pause = Duration::from_millis(limit.saturating_sub(resident) / BYTES_A_MS).clamp(SHORTEST, LONGEST);
            if resident > limit && progress.phase() != Phase::Publishing {
                let [resident, limit] = [resident, limit].map(|bytes| grouped(bytes >> 10));
                status.into_iter().for_each(|status| drop(fs::remove_file(status)));
                eprintln!(
                    "error: out of memory: the process takes {resident} KiB, and the limit is {limit} KiB \
                     (--memory-limit). A run holds the current rows and what is carried to enriched_data: use a larger \
                     machine, several processes (--hosts) or fewer tables (--tables), or look for values of an unusual \
                     size in the input"
                );
                process::exit(1);
            }
        }
    });
}

/// 95 % of the memory of the machine or of the control group, whichever is less.
fn available() -> Option<u64> {
    let machine = process_memory::of_machine();
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = group.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(group).min().map(|bytes| bytes / 20 * 19)
}
