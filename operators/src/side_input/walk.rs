//! Rows that are answered together, and the walk over all of them when the record changes.

use differential_dataflow::ExchangeData;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::cursor::CursorList;
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{BatchCursor, Cursor};
use timely::dataflow::operators::Capability;
use timely::progress::Timestamp;

use crate::batch::Batch;
use crate::bounds::Epochs;
use crate::unique::Weighted;

/// Rows that the logic is given at once.
pub(super) const BLOCK_ROWS: usize = 1 << 10;

/// Blocks before the operator yields while all rows are walked, so that answers are consumed before they accumulate.
const BLOCKS: usize = 16;

/// Sends answers with a capability.
pub(super) type SendAnswers<'a, T, D> = dyn FnMut(&Capability<T>, Vec<(D, T, isize)>) + 'a;

/// A walk over all rows, from one record to the next.
pub(super) struct RecordWalk<K: ExchangeData, V: ExchangeData, T: Epochs, S> {
    pub(super) at: Capability<T>,
    pub(super) record: Option<Weighted<S>>,
    /// False if there are no answers to retract.
    pub(super) retracts: bool,
    pub(super) rows: CursorList<BatchCursor<TraceAgent<ValSpine<K, V, T, isize>>>>,
    pub(super) batches: Vec<Batch<K, V, T>>,
}

/// Rows that are answered together, and their updates.
pub(super) struct RowBlock<'a, K, V, T> {
    pub(super) rows: Vec<(&'a K, &'a V)>,
    updates: Vec<(T, isize)>,
}

impl<'a, K, V, T: Timestamp> RowBlock<'a, K, V, T> {
    pub(super) fn new() -> Self {
        RowBlock { rows: Vec::new(), updates: Vec::new() }
    }

    pub(super) fn add(&mut self, row: (&'a K, &'a V), time: T, diff: isize) {
        self.rows.push(row);
        self.updates.push((time, diff));
    }

    /// Sends the rows' answers with their weights times `sign`.
    fn send<S, D>(
        &self,
        record: Option<&S>,
        sign: isize,
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        held: &Capability<T>,
        send: &mut SendAnswers<'_, T, D>,
    ) {
        if self.rows.is_empty() {
            return;
        }
        let mut answers = Vec::with_capacity(self.rows.len());
        logic(&self.rows, record, &mut answers);
        let answered = answers.into_iter().zip(&self.updates);
        send(held, answered.map(|(answer, (time, diff))| (answer, time.clone(), sign * diff)).collect());
    }

    /// Sends the rows' answers, and clears the block.
    pub(super) fn answer<S, D>(
        &mut self,
        record: Option<&S>,
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        held: &Capability<T>,
        send: &mut SendAnswers<'_, T, D>,
    ) {
        self.send(record, 1, logic, held, send);
        self.rows.clear();
        self.updates.clear();
    }
}

impl<K: ExchangeData, V: ExchangeData, T: Epochs, S> RecordWalk<K, V, T, S> {
    /// Answers some blocks of rows; true if rows are left.
    pub(super) fn proceed<D>(
        &mut self,
        former: Option<&S>,
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        send: &mut SendAnswers<'_, T, D>,
    ) -> bool {
        for _ in 0..BLOCKS {
            let mut block = RowBlock::new();
            let (rows, batches, time) = (&mut self.rows, &self.batches, self.at.time());
            while let Some(key) = rows.get_key(batches).filter(|_| block.rows.len() < BLOCK_ROWS) {
                let Some(value) = rows.get_val(batches) else {
                    rows.step_key(batches);
                    continue;
                };
                let mut weight = 0;
                rows.map_times(batches, |at, diff| weight += if at <= time { *diff } else { 0 });
                if weight != 0 {
                    block.add((key, value), time.clone(), weight);
                }
                rows.step_val(batches);
            }
            let is_more = rows.key_valid(batches);
            if self.retracts {
                block.send(former, -1, logic, &self.at, send);
            }
            block.send(self.record.as_ref().map(|(record, _)| record), 1, logic, &self.at, send);
            if !is_more {
                return false;
            }
        }
        true
    }
}
