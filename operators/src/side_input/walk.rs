//! The walk over all rows from one record to the next, and rows that are answered together.

use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::cursor::CursorList;
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{BatchCursor, Cursor};
use timely::dataflow::operators::Capability;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::batch::Batch;
use crate::unique::Weighted;

use super::TOGETHER;

/// Calls before others get a turn while all rows are walked: what is answered is then consumed before it piles up.
const CALLS_AT_A_TIME: usize = 16;

/// Where answers are given.
pub(super) type Give<'a, T, D> = dyn FnMut(&Capability<T>, Vec<(D, T, isize)>) + 'a;

/// All rows, on their way from one record to the next.
pub(super) struct Walk<K: Ord + Clone + 'static, V: Ord + Clone + 'static, T: Timestamp + Lattice, S> {
    pub(super) at: Capability<T>,
    pub(super) record: Option<Weighted<S>>,
    /// False if there are no answers to take back.
    pub(super) takes_back: bool,
    pub(super) rows: CursorList<BatchCursor<TraceAgent<ValSpine<K, V, T, isize>>>>,
    pub(super) batches: Vec<Batch<K, V, T>>,
}

/// Rows that wait to be answered together.
pub(super) struct Asked<'a, K, V, T> {
    pub(super) rows: Vec<(&'a K, &'a V)>,
    updates: Vec<(T, isize)>,
}

impl<'a, K, V, T: Timestamp> Asked<'a, K, V, T> {
    pub(super) fn new() -> Self {
        Asked { rows: Vec::new(), updates: Vec::new() }
    }

    pub(super) fn add(&mut self, row: (&'a K, &'a V), time: T, diff: isize) {
        self.rows.push(row);
        self.updates.push((time, diff));
    }

    /// Gives the rows' answers, as often as their weights times `sign` say.
    fn give<S, D>(
        &self,
        record: Option<&S>,
        sign: isize,
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        held: &Capability<T>,
        give: &mut Give<'_, T, D>,
    ) {
        if self.rows.is_empty() {
            return;
        }
        let mut answers = Vec::with_capacity(self.rows.len());
        logic(&self.rows, record, &mut answers);
        assert_eq!(answers.len(), self.rows.len(), "each row has an answer");
        let answered = answers.into_iter().zip(&self.updates);
        give(held, answered.map(|(answer, (time, diff))| (answer, time.clone(), sign * diff)).collect());
    }

    /// Gives the rows' answers, and is then ready for others.
    pub(super) fn answer<S, D>(
        &mut self,
        record: Option<&S>,
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        held: &Capability<T>,
        give: &mut Give<'_, T, D>,
    ) {
        self.give(record, 1, logic, held, give);
        self.rows.clear();
        self.updates.clear();
    }
}

impl<K, V, T, S> Walk<K, V, T, S>
where
    K: Ord + Clone + 'static,
    V: Ord + Clone + 'static,
    T: Timestamp + Lattice + TotalOrder,
{
    /// Walks some rows on; true if there are more.
    pub(super) fn proceed<D>(
        &mut self,
        former: Option<&S>,
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        give: &mut Give<'_, T, D>,
    ) -> bool {
        for _ in 0..CALLS_AT_A_TIME {
            let mut asked = Asked::new();
            let (rows, batches, time) = (&mut self.rows, &self.batches, self.at.time());
            while let Some(key) = rows.get_key(batches).filter(|_| asked.rows.len() < TOGETHER) {
                let Some(value) = rows.get_val(batches) else {
                    rows.step_key(batches);
                    continue;
                };
                let mut weight = 0;
                rows.map_times(batches, |at, diff| weight += if at <= time { *diff } else { 0 });
                if weight != 0 {
                    asked.add((key, value), time.clone(), weight);
                }
                rows.step_val(batches);
            }
            let is_more = rows.key_valid(batches);
            if self.takes_back {
                asked.give(former, -1, logic, &self.at, give);
            }
            asked.give(self.record.as_ref().map(|(record, _)| record), 1, logic, &self.at, give);
            if !is_more {
                return false;
            }
        }
        true
    }
}
