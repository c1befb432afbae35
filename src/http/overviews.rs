//! The overview that is sent to those who watch the shop.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{Mutex, watch};

/// The newest overview, for those who watch it.
#[derive(Default)]
pub(super) struct Overviews {
    /// `None` until somebody watches; closed once nobody does any more.
    pub(super) watched: Mutex<Option<watch::Receiver<Overview>>>,
}

/// An overview as it is sent; none at the beginning.
pub(super) type Overview = Option<MadeOverview>;

/// An overview, made once for all who get it.
#[derive(Clone)]
pub(super) struct MadeOverview {
    pub(super) epoch: u64,
    pub(super) json: Arc<str>,
    /// The same as a server-sent event.
    pub(super) event: Bytes,
}
