//! The tables as DataFusion reads them, at one epoch.

pub(super) mod arrow_versions;
pub(super) mod enriched;
pub(super) mod held_cursors;
pub(super) mod kept;
pub(super) mod key_filters;
pub(super) mod read_epoch;
pub(super) mod service;
