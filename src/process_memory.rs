//! The memory that this process takes.

use std::fs;

/// The memory that it takes now, in bytes; `None` where the system does not tell.
pub(crate) fn resident() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// The most that it has taken, in bytes; `None` where the system does not tell.
pub(crate) fn peak() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// The memory of the machine, in bytes; `None` where the system does not tell.
#[cfg(feature = "cli")]
pub(crate) fn of_machine() -> Option<u64> {
    field("/proc/meminfo", "MemTotal:")
}

/// A line of kibibytes, in bytes.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
