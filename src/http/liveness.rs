//! Whether the job makes progress.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether the job goes on, as those who ask see it.
#[derive(Default)]
pub(super) struct Liveness(Mutex<Option<(u64, Instant)>>);

/// Without progress for so long, the process is restarted by whoever watches it.
const SILENCE_MAX: Duration = Duration::from_secs(60);

impl Liveness {
    /// True unless the job is where it was a minute ago.
    pub(super) fn is_alive(&self, steps: u64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some((known, since)) if *known == steps => since.elapsed() < SILENCE_MAX,
            _ => {
                *seen = Some((steps, Instant::now()));
                true
            }
        }
    }
}
