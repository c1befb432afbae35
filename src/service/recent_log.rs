//! The last lines of the log of this process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// How many lines are kept, and how many bytes of them.
const LINES: usize = 1000;
const BYTES: usize = 1 << 20;
/// The longest line, in bytes.
const LONGEST: usize = 16 << 10;

/// The last lines of the log, each a JSON object: at most 1,000, and about 1 MiB. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentLog(Arc<Mutex<KeptLines>>);

#[derive(Debug, Default)]
struct KeptLines {
    lines: VecDeque<String>,
    bytes: usize,
}

impl RecentLog {
    /// Adds a line, a JSON object; the oldest ones make room. A message that is very long is shortened.
    pub fn add(&self, line: &str) {
        let Some(line) = bounded(line.trim_end()) else { return };
        let mut kept = self.lock();
        kept.bytes += line.len();
        kept.lines.push_back(line);
        while kept.lines.len() > LINES || kept.bytes > BYTES {
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

/// A line that is not too long; `None` for one that can't be shortened.
fn bounded(line: &str) -> Option<String> {
    if line.len() <= LONGEST {
        return Some(line.to_owned());
    }
    let mut fields: Value = serde_json::from_str(line).ok()?;
    let message = fields.get("message")?.as_str()?;
    let end = (0..LONGEST / 8).rev().find(|end| message.is_char_boundary(*end))?;
    let shortened = format!("{}… ({} bytes)", &message[..end], message.len());
    fields["message"] = shortened.into();
    Some(fields.to_string()).filter(|line| line.len() <= LONGEST)
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
        let long = |length: usize| serde_json::json!({ "level": "WARN", "message": "ä".repeat(length) }).to_string();
        (0..200).for_each(|_| log.add(&long(LONGEST / 2 - 50)));
        assert!(log.lines().iter().map(String::len).sum::<usize>() <= BYTES);
        log.add(&long(BYTES));
        log.add(&"y".repeat(BYTES));
        let last: Value = log.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("JSON");
        assert!(last["message"].as_str().is_some_and(|message| message.ends_with("… (2097152 bytes)")), "{last}");
        assert!(log.lines().len() > 50);
    }
}
