//! The row of `enriched_data`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Account, Line, Product};

/// A row of `enriched_data`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Enriched<I> {
    /// Who ordered; `None` for a guest.
    pub customer: Option<I>,
    /// The order.
    pub line: Line<I>,
    /// The product; `None` where it is unknown.
    pub item: Option<Arc<Product>>,
    /// What is known of the customer.
    pub account: Arc<Account>,
}
