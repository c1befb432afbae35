//! Workers and epochs: the one place that knows threads, time and when something is finished.
//!
//! ```text
//! source ─ splits ─▶ worker: decode, step ─▶ dataflow ─▶ ends of tables ─▶ parts of sinks ─┐
//!                    (each worker the same)                                               ├─▶ prepare ─▶ commit
//!                                                          all workers have sealed ───────┘
//! ```
//!
//! The first epoch is what the source has. A *run* closes its inputs after it, so operators hand their state on instead
//! of keeping it. A *live* job keeps them open: each set of changes is one more epoch.

mod batch;
mod cluster;
mod commit;
mod conflicts;
mod context;
mod dataflow;
mod ends;
mod failure;
mod followers;
mod ids;
mod inputs;
mod intake;
mod job_sinks;
mod live;
mod operator_log;
mod profile;
mod progress;
mod rejections;
mod saved_model;
mod waves;
mod worker;
mod worker_epochs;

pub(crate) use batch::run_opened;
pub use batch::run_with;
pub(crate) use context::{check_source, new_run_id};
pub(crate) use job_sinks::JobSinks;
pub use live::Live;
pub(crate) use operator_log::OperatorLog;
pub use operator_log::OperatorReport;
pub use progress::{Phase, Progress};
