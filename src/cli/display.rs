//! Progress display: bars on a terminal, log lines elsewhere.

use std::io::{self, IsTerminal, Write, stderr};
use std::mem::discriminant;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::printable::printable;
use crate::runtime::{Phase, Progress};
use crate::service::RecentLog;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum LogFormat {
    /// A line of text each.
    #[default]
    Text,
    /// A JSON object each, with the epoch, the source and the task where there is one.
    Json,
}

/// What is in the words of a message already.
const IN_WORDS: [&str; 3] = ["epoch", "source", "task"];

/// Logs to standard error, filtered by `RUST_LOG`, or else by this. The last lines are kept, too.
pub(super) fn start_logging(default: &str, format: LogFormat) -> RecentLog {
    // What ends a replication, or is wrong with a schema or a table, is told with the name of its source or sink.
    let default = format!("{default},pgwire_replication=off,apache_avro=off,delta_kernel=off");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let kept = RecentLog::default();
    let shown: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => {
            let fields = debug_fn(|writer, field, value| match field.name() {
                "message" => write!(writer, "{}", printable_lines(&format!("{value:?}"))),
                name if IN_WORDS.contains(&name) => Ok(()),
                name => write!(writer, " {name}={}", printable_lines(&format!("{value:?}"))),
            });
            let lines = fmt::layer().with_target(false).with_writer(stderr);
            lines.fmt_fields(fields).with_ansi(stderr().is_terminal()).boxed()
        }
        LogFormat::Json => json_lines(stderr),
    };
    let _ = Registry::default().with(vec![shown, json_lines(KeptLog(kept.clone()))]).with(filter).try_init();
    kept
}

/// A text that can't be taken for another line of the log: control characters are escaped, further lines indented.
fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n  ")
}

fn json_lines<W>(writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    lines.with_target(false).with_writer(writer).boxed()
}

/// Adds each line that is written.
struct KeptLog(RecentLog);

impl<'w> MakeWriter<'w> for KeptLog {
    type Writer = &'w KeptLog;

    fn make_writer(&'w self) -> &'w KeptLog {
        self
    }
}

impl Write for &KeptLog {
    /// The subscriber writes a whole line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Displays progress in a thread until dropped.
pub(super) struct ProgressDisplay {
    progress: Arc<Progress>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const BETWEEN_BARS: Duration = Duration::from_millis(100);
const BETWEEN_LINES: Duration = Duration::from_secs(10);

impl ProgressDisplay {
    pub(super) fn show(progress: &Arc<Progress>) -> ProgressDisplay {
        let is_over = Arc::new(AtomicBool::new(false));
        let (shown, stop) = (Arc::clone(progress), Arc::clone(&is_over));
        let on_terminal = stderr().is_terminal();
        let thread = std::thread::spawn(move || if on_terminal { bars(&shown, &stop) } else { lines(&shown, &stop) });
        ProgressDisplay { progress: Arc::clone(progress), is_over, thread: Some(thread) }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            self.progress.wake();
            let _ = thread.join();
        }
    }
}

fn bars(progress: &Progress, is_over: &AtomicBool) {
    let bars = MultiProgress::new();
    let style = |template| ProgressStyle::with_template(template).expect("the template is right");
    let known = style("{msg:14} {wide_bar} {human_pos:>12} of {human_len} rows");
    let open = style("{msg:14} {spinner} {human_pos:>12}");
    let bar = |name: &'static str| bars.add(ProgressBar::no_length().with_message(name).with_style(open.clone()));
    let phase = bars.add(ProgressBar::no_length().with_style(style("{wide_msg}")));
    let (read, epochs, written) = (bar("read"), bar("epochs done"), bar("rows written"));
    if progress.rows_total() > 0 {
        read.set_style(known.clone());
    }
    while !is_over.load(Ordering::Acquire) {
        phase.set_message(progress.phase().to_string());
        let total = progress.rows_total();
        if total > 0 && read.length() != Some(total) {
            read.set_style(known.clone());
            read.set_length(total);
        }
        read.set_position(progress.rows_read());
        epochs.set_position(progress.epochs());
        written.set_position(progress.rows_written());
        [&read, &epochs, &written].iter().for_each(|bar| bar.tick());
        progress.wait(BETWEEN_BARS);
    }
    read.set_position(progress.rows_read());
    epochs.set_position(progress.epochs());
    written.set_position(progress.rows_written());
    phase.finish_and_clear();
    [read, epochs, written].iter().for_each(ProgressBar::abandon);
}

fn lines(progress: &Progress, is_over: &AtomicBool) {
    let started = Instant::now();
    let (mut next, mut logged) = (BETWEEN_LINES, None);
    while !is_over.load(Ordering::Acquire) {
        let phase = progress.phase();
        let is_new = logged.as_ref().is_none_or(|logged| discriminant(logged) != discriminant(&phase));
        let is_time = started.elapsed() >= next;
        match phase {
            Phase::Reading | Phase::Computing if is_time && !is_new => log_rows(progress),
            _ if is_time || is_new => tracing::info!("{phase}"),
            _ => {}
        }
        if is_time {
            next += BETWEEN_LINES;
        }
        logged = Some(phase);
        progress.wait(BETWEEN_BARS);
    }
    log_rows(progress);
}

fn log_rows(progress: &Progress) {
    let (total, read, written) = (progress.rows_total(), progress.rows_read(), progress.rows_written());
    tracing::info!(read, total, epochs = progress.epochs(), written, "rows");
}
