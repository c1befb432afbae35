//! Reading the batches of an arrangement.

use differential_dataflow::lattice::Lattice;
use differential_dataflow::trace::{Cursor, Navigable};
use timely::progress::Timestamp;

use crate::operators::Batch;

/// The values of a batch that are inserted in the first epoch.
pub(super) fn values_of_first_epoch<K, V, T>(batch: &Batch<K, V, T>, mut see: impl FnMut(&V))
where
    K: Ord + Clone + 'static,
    V: Ord + Clone + 'static,
    T: Timestamp + Lattice,
{
    let mut cursor = batch.cursor();
    while cursor.key_valid(batch) {
        while cursor.val_valid(batch) {
            let mut weight = 0;
            cursor.map_times(batch, |time, diff| {
                if *time == T::minimum() {
                    weight += diff;
                }
            });
            if weight > 0 {
                see(cursor.val(batch));
            }
            cursor.step_val(batch);
        }
        cursor.step_key(batch);
    }
}
