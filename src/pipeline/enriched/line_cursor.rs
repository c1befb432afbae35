//! A cursor over all lines, customer by customer.

use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::cursor::{CursorList, cursor_list};
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{Cursor, Navigable, TraceReader};
use timely::progress::frontier::AntichainRef;

use crate::model::{Id, Line};
use crate::operators::Epochs;

use super::changed_lines::Lines;

/// The trace of the order lines.
pub(super) type Trace<T, I> = TraceAgent<ValSpine<Option<I>, Line<I>, T, isize>>;

/// A cursor over the batches of a trace.
pub(super) struct LineCursor<T: Epochs, I: Id> {
    cursor: CursorList<<Lines<T, I> as Navigable>::Cursor>,
    batches: Vec<Lines<T, I>>,
}

impl<T: Epochs, I: Id> LineCursor<T, I> {
    pub(super) fn of(trace: &mut Trace<T, I>) -> Self {
        let batches = trace.batches_through(AntichainRef::new(&[])).expect("all batches can be read");
        let (cursor, batches) = cursor_list(batches);
        LineCursor { cursor, batches }
    }

    /// Shows the lines of a customer, each with its weight before the first of some epochs and after the last.
    /// Customers must be sought in ascending order.
    pub(super) fn seek(
        &mut self,
        customer: &Option<I>,
        (first, last): (&T, &T),
        mut see: impl FnMut(&Line<I>, isize, isize),
    ) {
        let LineCursor { cursor, batches } = self;
        cursor.seek_key(batches, customer);
        if cursor.get_key(batches) != Some(customer) {
            return;
        }
        while let Some(line) = cursor.get_val(batches) {
            let (mut was, mut is) = (0, 0);
            cursor.map_times(batches, |time, diff| {
                was += if time < first { *diff } else { 0 };
                is += if time <= last { *diff } else { 0 };
            });
            see(line, was, is);
            cursor.step_val(batches);
        }
    }
}
