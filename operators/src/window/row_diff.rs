//! The diffs that count rows.

use differential_dataflow::difference::Semigroup;

/// The diff of a collection that a window reads: `isize`, the number of copies of a row.
///
/// A collection with another integer diff has to be converted first:
///
/// ```
/// use differential_dataflow::AsCollection;
/// use millstream_operators::prelude::*;
/// use timely::dataflow::operators::vec::Map;
///
/// timely::example(|scope| {
///     let rows: VecCollection<'_, _, _, i64> = scope.new_collection_from_raw([(3, 0, 1), (1, 0, 1)]).1;
///     let counted = rows.inner.map(|(row, time, diff)| (row, time, diff as isize)).as_collection();
///     let numbers = window(counted, "Numbers", |_| (), |row| *row).select(|w| w.row_number());
///     numbers.assert_eq(scope.new_collection_from([(1, 1), (3, 2)]).1);
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "a window counts rows by an `isize` diff, and the diff of this collection is `{Self}`",
    label = "this collection's diff is `{Self}`, not `isize`",
    note = "an integer diff can be converted: \
            `rows.inner.map(|(row, time, diff)| (row, time, diff as isize)).as_collection()`"
)]
pub trait RowDiff: Semigroup + 'static {
    /// The number of copies of the row.
    fn copies(self) -> isize;
}

// The only implementation, so that the diff of a collection is inferred from its use in a window.
impl RowDiff for isize {
    fn copies(self) -> isize {
        self
    }
}
