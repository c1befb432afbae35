//! The overview that is sent to those who watch the shop.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Mutex, watch};

/// The newest overview, for those who watch it.
#[derive(Default)]
pub(super) struct Overviews {
    /// `None` while nobody watches.
    pub(super) watched: Mutex<Option<watch::Receiver<Overview>>>,
}

/// An overview as it is sent; none at the beginning.
pub(super) type Overview = Option<(u64, Arc<Value>)>;
