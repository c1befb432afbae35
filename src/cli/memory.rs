//! A limit of memory: a run that exceeds it ends with an error, where the kernel would kill it without a word.

use std::fs;
use std::path::{Path, PathBuf};
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

/// Ends the process with an error once it takes more than `limit` bytes, if there is a limit. Its files are removed by
/// the next run. A run that is committing its tables finishes that.
pub(super) fn limit(limit: Option<u64>, progress: &Arc<Progress>, status: Option<&Path>) {
    let Some(limit) = limit else { return };
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
                     (--memory-limit). A run keeps products, customers, row groups and the orders of one customer (or \
                     all guests) in memory, a service all orders: use a larger machine, for a run fewer workers \
                     (--workers), several processes (--hosts) or fewer tables (--tables), or look for values of an \
                     unusual size in the input"
                );
                process::exit(1);
            }
        }
    });
}

/// 95 % of the memory of the machine or of a control group that the process is in, whichever is least.
pub(super) fn available() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let files = groups.lines().flat_map(limits_of_group);
    let limits = files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    process_memory::of_machine().into_iter().chain(limits).min().map(|bytes: u64| bytes / 20 * 19)
}

/// The files with the limits of a group and of those around it, given its line in `/proc/self/cgroup`: that of version
/// 2, or the one of version 1 that counts memory. In a container, the outermost group is the container's.
fn limits_of_group(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (folder, file) = match parts.next() {
        Some("") => ("/sys/fs/cgroup", "memory.max"),
        Some(controllers) if controllers.split(',').any(|controller| controller == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = Path::new(parts.next().unwrap_or_default().trim_start_matches('/'));
    group.ancestors().map(|group| Path::new(folder).join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_those_of_a_group_and_of_all_around_it() {
        let files = |line| limits_of_group(line).iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        let of_two = ["/sys/fs/cgroup/a.slice/b/memory.max", "/sys/fs/cgroup/a.slice/memory.max"];
        assert_eq!(files("0::/a.slice/b"), [&of_two[..], &["/sys/fs/cgroup/memory.max"]].concat());
        assert_eq!(files("0::/"), ["/sys/fs/cgroup/memory.max"]);
        let of_one =
            ["/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        assert_eq!(files("4:cpu,memory:/jobs"), of_one);
        assert_eq!(files("2:cpuacct:/jobs"), Vec::<String>::new());
        assert_eq!(files("nonsense"), Vec::<String>::new());
    }
}
