//! The memory of a run.

use std::path::PathBuf;

/// How much memory a batch run may take, and where orders wait that do not fit.
///
/// Orders that do not fit are written to files while the input is read. They are read back by id, to find the last row
/// of each, and by ranges of customers, of which at most two are in memory at a time. The rest must fit: products,
/// customers, sums by product, row groups that are being written, all orders of any one customer (guests are one), the
/// newest row of each order if orders have a version column, a pair for each order if `daily_sales` is made without
/// tables that read order lines, and the rows of `enriched_data` if `sort_by` sorts them. Live jobs keep everything,
/// and so do runs with a table that does not [allow waves](crate::tables::Table::allows_waves).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// The memory of this process in bytes. The run plans with it, but does not enforce it: the command does.
    pub bytes: u64,
    /// The folder of the files; `None` for the output folder of a run, and of
    /// [`run_with`](crate::runtime::run_with) for the system's temporary folder, which may be in memory.
    pub folder: Option<PathBuf>,
}
