//! The live job as a service: it loads what it has, stays, takes what arrives, survives being killed, and publishes its
//! tables.
//!
//! ```text
//! files, requests ─ what has arrived ─▶ epoch ─┬─▶ log (durable) ─┐
//!                                              └─▶ live job ──────┴─▶ committed and visible
//! state ─ snapshot ─▶ in the background: checkpoint, publication, verification
//! start: state ─▶ first epoch of the live job ─▶ what arrived since
//! ```
//!
//! An epoch is what has arrived while the one before it was worked on. The log and the dataflow take it at the same
//! time, and it is committed in the sinks once both are done. Everything in the background reads a snapshot of the
//! state, which does not change.

mod activity;
mod admission;
mod arriving;
mod background;
mod brokers;
mod compare;
mod connectors;
mod consumed;
mod copying;
mod databases;
mod deliveries;
mod epoch;
mod first_input;
#[cfg(feature = "connectors")]
mod following;
mod forget;
mod import;
mod inbox;
mod ingest;
#[cfg(feature = "delta")]
mod lakes;
#[cfg(feature = "http")]
mod listing;
mod lock;
mod made_by;
mod offsets;
mod publish;
mod published;
mod recent_log;
mod rejected;
mod rejected_filter;
mod remote;
mod replicated;
mod request;
mod request_keys;
mod serve;
mod settings;
mod state_commands;
mod stats;
mod verify;

pub use activity::{
    Activity, ActivityReport, DeliveryTo, FollowReport, FollowState, SourceKind, SourceReport, TaskKind, TaskReport,
};
pub use forget::{Forget, Forgotten, RejectedRows};

pub use connectors::check_connectors;
pub use ingest::{Ingest, NotPosted, Post, Posted, ROWS_MAX};
#[cfg(feature = "http")]
pub(crate) use listing::{listed_sinks, listed_sources, task_json, timestamp};
pub use recent_log::RecentLog;
pub use rejected::{Retried, drop_rejected, each_rejected, retry_rejected};
pub use rejected_filter::RejectedFilter;
pub use remote::RemoteFolders;
pub use request::WaitFor;
pub use serve::{ServiceHandle, serve};
pub use settings::ServiceConfig;
pub use state_commands::{check_not_running, export};
pub use stats::{AppliedRows, EpochObserver, EpochStats};
pub use verify::verify;
