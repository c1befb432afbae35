//! What a window reads: rows by partition, arranged by the window itself or beforehand.

use std::rc::Rc;

use differential_dataflow::ExchangeData;

use crate::ByKey;
use crate::bounds::{Key, Times};

/// The rows of a window by partition.
#[derive(Clone)]
pub(super) enum Partitions<'scope, T: Times, P: Key, O: ExchangeData, D: ExchangeData> {
    /// Arranged with their order keys, so that the arrangement sorts them.
    Ordered(ByKey<'scope, T, P, (O, D)>),
    /// Arranged without; the driver sorts them.
    Unordered(ByKey<'scope, T, P, D>, Rc<dyn Fn(&D) -> O>),
}
