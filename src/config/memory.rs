//! The memory of a run.

use std::path::PathBuf;

/// How much memory a batch run may take, and where orders go that do not fit.
///
/// A run then reads all orders before it makes a row, as any run does, but keeps only those that fit: the others wait in
/// files, and come back by ranges of customers, each of which is written before the next but one. Products, customers,
/// what is summed by product or day, and the files being written stay in memory, and so do the orders of one customer
/// (the guests are one), and the rows of `enriched_data` if `sort_by` sorts them. Live jobs keep everything, and so do
/// runs with a table that does not [allow waves](crate::tables::Table::allows_waves).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Bytes of this process. It is what the run plans with: nothing enforces it.
    pub bytes: u64,
    /// The folder of the files, which have no names; `None` for the output folder of a run, or else the system's folder
    /// for temporary files.
    pub folder: Option<PathBuf>,
}
