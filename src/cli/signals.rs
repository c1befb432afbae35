//! SIGINT, SIGTERM and SIGHUP cancel the run.

use std::fs;
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::error::{Error, Result};
use crate::runtime::{Phase, Progress};
use crate::service::ServiceHandle;

/// How long a cancelled run may take to end in order: to remove its files, and to tell other processes.
const GRACE: Duration = Duration::from_millis(700);

/// Makes the first signal cancel the run, and a second one end the process at once.
///
/// A run that does not end in time, because it waits for a file or is in the middle of a long step, is ended where it
/// is. Its files are removed by the next run. A run that is committing its tables finishes that.
pub(super) fn stop_on_signals(progress: &Arc<Progress>) -> Result<()> {
    let stop = progress.stop();
    let signals = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal));
    let signals: Vec<_> = signals.collect();
    for signal in signals.iter().copied() {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop)).map_err(Error::failed)?;
        flag::register(signal, Arc::clone(&stop)).map_err(Error::failed)?;
    }
    let mut signals = Signals::new(&signals).map_err(Error::failed)?;
    let progress = Arc::clone(progress);
    thread::spawn(move || {
        signals.forever().next();
        stop.store(true, Ordering::Relaxed);
        thread::sleep(GRACE);
        while progress.phase() == Phase::Publishing {
            thread::sleep(GRACE);
        }
        eprintln!("error: cancelled");
        process::exit(1);
    });
    Ok(())
}

/// Makes signals requests to a service: SIGUSR1 to publish, SIGUSR2 to verify, SIGTERM, SIGINT and SIGHUP to stop. A
/// service that is still loading is cancelled, and a second signal ends the process at once: nothing is lost by that.
pub(super) fn request_on_signals(progress: &Arc<Progress>, requests: &ServiceHandle) -> Result<()> {
    flag::register(SIGUSR1, Arc::clone(&requests.publish)).map_err(Error::failed)?;
    flag::register(SIGUSR2, Arc::clone(&requests.verify)).map_err(Error::failed)?;
    let signals = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal));
    let signals: Vec<_> = signals.collect();
    for signal in signals.iter().copied() {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&requests.stop)).map_err(Error::failed)?;
        flag::register(signal, Arc::clone(&requests.stop)).map_err(Error::failed)?;
    }
    let mut signals = Signals::new(&signals).map_err(Error::failed)?;
    let progress = Arc::clone(progress);
    thread::spawn(move || {
        signals.forever().next();
        if progress.phase() != Phase::Live {
            progress.stop().store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// True if whoever started the process wants a signal to be ignored, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored >> (signal - 1) & 1 == 1
}
