//! The last lines of the log of this process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many lines are kept, and how many bytes of them.
const LINES: usize = 1000;
const BYTES: usize = 1 << 20;

/// The last lines of the log, each a JSON object: at most 1,000, and about 1 MiB. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentLog(Arc<Mutex<KeptLines>>);

#[derive(Debug, Default)]
struct KeptLines {
    lines: VecDeque<String>,
    bytes: usize,
}

impl RecentLog {
    /// Adds a line; the oldest ones make room.
    pub fn add(&self, line: &str) {
        let (line, mut kept) = (line.trim_end(), self.lock());
        kept.bytes += line.len();
        kept.lines.push_back(line.to_owned());
        while kept.lines.len() > LINES || (kept.bytes > BYTES && kept.lines.len() > 1) {
            kept.bytes -= kept.lines.pop_front().map_or(0, |line| line.len());
        }
    }

    /// The lines, the oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, KeptLines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_their_size_has_a_bound() {
        let log = RecentLog::default();
        (0..LINES + 10).for_each(|line| log.add(&format!("{line}\n")));
        let lines = log.lines();
        assert_eq!((lines.len(), &*lines[0], &*lines[LINES - 1]), (LINES, "10", "1009"));
        log.add(&"x".repeat(BYTES - 10));
        assert_eq!(log.lines().last().map(String::len), Some(BYTES - 10));
        assert!(log.lines().iter().map(String::len).sum::<usize>() <= BYTES);
        log.add(&"y".repeat(2 * BYTES));
        assert_eq!(log.lines().len(), 1);
    }
}
