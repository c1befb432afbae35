//! A load in waves: the first epoch is arranged range by range of its keys, and each range is dropped once processed.
//!
//! If all records depend on the rows of one key, or on sums over all keys, the keys need not be in memory together.
//! [`arrange_in_waves`] gives each range of keys a time of its own, and sends the next range when the dataflow has
//! finished the one before the last. Sums over all keys are sent once, at a time after the last wave.
//!
//! ```text
//! rows of all keys ──▶ keys A–F at time 0, G–P at time 1, Q–Z at time 2 ──▶ records of each key, at its time
//!                          ▲                                          └──▶ sums of all keys, at the time after
//!                          └───────────── gate: time 0 is done ◀── end of the dataflow
//! ```

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::difference::Semigroup;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ord_neu::OrdValBatch;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine, Vector};
use differential_dataflow::trace::{Builder, Description, Span, Trace};
use differential_dataflow::{ExchangeData, VecCollection};
use timely::dataflow::channels::ContainerBytes;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::progress::frontier::Antichain;
use timely::scheduling::Activator;

use crate::arrange::{BUCKET, BUCKETS, bucket_of, sample_of, sort_in_parts};
use crate::batch::{Batch, ByKey};
use crate::bounds::{Epochs, Key};
use crate::exchange::route;
use crate::spill::{Spill, WaitingLists};

/// How a load is split into waves.
#[derive(Clone)]
pub struct Waves<T> {
    /// The time of each wave: that of the first is the minimum, and each is less than the next.
    pub time: fn(usize) -> T,
    /// A time after the last wave's, at which sums over all keys are sent.
    pub after: T,
    /// The memory of the rows of a wave, about. Two waves are processed at a time. All rows of one key are in one wave,
    /// however many, and a wave has at least one range of keys: a 512th of the rows.
    pub bytes: usize,
    /// Where rows wait for their wave that do not fit memory.
    pub spill: Option<Spill>,
    /// Paces the waves.
    pub gate: WaveGate<T>,
}

/// Reports to a load how far its dataflow is, so that it sends the next wave. Each worker has one.
#[derive(Clone)]
pub struct WaveGate<T>(Rc<RefCell<Gate<T>>>);

struct Gate<T> {
    /// Everything before this time is done.
    done: T,
    waiting: Vec<Activator>,
}

impl<T: Epochs> WaveGate<T> {
    /// A gate of a dataflow that has finished nothing yet.
    #[must_use]
    pub fn new() -> WaveGate<T> {
        WaveGate(Rc::new(RefCell::new(Gate { done: T::minimum(), waiting: Vec::new() })))
    }

    /// The end of the dataflow has finished everything before this time. It must be called until all waves are sent,
    /// also when the end is closed: then with a time after all waves.
    pub fn advance_to(&self, done: T) {
        let mut gate = self.0.borrow_mut();
        if gate.done < done {
            gate.done = done;
            gate.waiting.iter().for_each(Activator::activate);
        }
    }

    fn is_open(&self, time: &T) -> bool {
        *time <= self.0.borrow().done
    }
}

impl<T: Epochs> Default for WaveGate<T> {
    fn default() -> Self {
        WaveGate::new()
    }
}

/// The rows by key as [`arrange`](crate::arrange()) arranges them, but range by range, each at a time of its own.
///
/// Ranges are chosen from the first rows, so these should be a fair sample of all. The trace stays empty: a batch has
/// all rows of its keys, and is freed when its readers drop it. So this is for operators that read batches, such as
/// [`SharedReduce::in_waves`](crate::SharedReduce::in_waves) and [`with_side_input`](crate::with_side_input()) with a
/// record that does not change. Others have the same type of input, but find nothing: a join loses all matches that are
/// not in the same batch.
///
/// *Cost*: that of `arrange`. *State*: the rows of two waves, and those that wait, unless they are spilled.
///
/// # Panics
///
/// If a row has another time than the least, or a wave's time is not before [`after`](Waves::after). Nothing is sent
/// until the input closes.
pub fn arrange_in_waves<'scope, T: Epochs, K: Key, V: ExchangeData>(
    rows: VecCollection<'scope, T, (K, V)>,
    name: &str,
    waves: Waves<T>,
) -> ByKey<'scope, T, K, V> {
    let exchange = Exchange::new(|((key, _), _, _): &((K, V), T, isize)| route(key));
    let (mut reader, scope) = (None, rows.scope());
    let stream = rows.inner.unary_frontier(exchange, name, |capability, info| {
        let activator = scope.activator_for(Rc::clone(&info.address));
        waves.gate.0.borrow_mut().waiting.push(scope.activator_for(Rc::clone(&info.address)));
        let trace = ValSpine::new(info.clone(), None, None);
        let (trace, mut writer) = TraceAgent::new(trace, info, None);
        reader = Some(trace);
        let mut waiting = RowsByRange::new(waves.spill.clone());
        let (mut held, mut sent) = (Some(capability), 0);
        move |(input, frontier), output| {
            input.for_each(|_, updates| {
                waiting.extend(updates.drain(..).map(|(row, time, diff)| {
                    assert!(time == T::minimum(), "found a row at {time:?}, wanted the rows of one load");
                    (row, diff)
                }));
            });
            let Some(capability) = held.as_mut().filter(|_| frontier.is_empty()) else { return };
            // The wave before the last one that was sent is done.
            if sent > 0 && !waves.gate.is_open(&(waves.time)(sent - 1)) {
                return;
            }
            let time = (waves.time)(sent);
            assert!(time < waves.after, "found wave {sent} at {time:?}, wanted all before {:?}", waves.after);
            match waiting.next_batch(&time, waves.bytes) {
                Some(batch) => {
                    capability.downgrade(&time);
                    sent += 1;
                    let [lower, upper] = [time, (waves.time)(sent)].map(Antichain::from_elem);
                    let times = Description::new(lower, upper.clone(), Antichain::from_elem(T::minimum()));
                    output.session(capability).give(Span::new(times, Some(batch)));
                    writer.seal(upper);
                    activator.activate();
                }
                None => {
                    held = None;
                    writer.seal(Antichain::new());
                }
            }
        }
    });
    Arranged { stream, trace: reader.expect("the operator was built") }
}

/// Of large rows, fewer are collected before ranges are chosen, but at least so many.
const SAMPLE_LEAST: usize = 4 * BUCKETS;
/// So large may the rows be from which ranges are chosen.
const SAMPLE_BYTES: usize = 4 << 20;

/// The memory of rows, estimated from the serialized size of a few.
fn bytes_of<E: ExchangeData>(rows: &[E]) -> usize {
    let few: Vec<E> = rows.iter().step_by(rows.len() / 8 + 1).cloned().collect();
    few.length_in_bytes() / few.len().max(1) * rows.len()
}

/// Rows by ranges of keys, in order. The rows of a key that has many are in several ranges.
struct RowsByRange<K, V, R> {
    /// The least row of each range after the first: its key, and its value unless the range begins with the key.
    splitters: (Vec<K>, Vec<Option<V>>),
    rows: WaitingLists<((K, V), R)>,
    /// The first rows, from which ranges are chosen; `None` once they are.
    first: Option<Vec<((K, V), R)>>,
    /// The next range to be taken.
    next: usize,
}

impl<K: ExchangeData, V: ExchangeData, R: ExchangeData + Semigroup> RowsByRange<K, V, R> {
    fn new(spill: Option<Spill>) -> Self {
        let rows = WaitingLists::new(BUCKETS).spilling(spill);
        RowsByRange { splitters: (Vec::new(), Vec::new()), rows, first: Some(Vec::new()), next: 0 }
    }

    fn extend(&mut self, rows: impl Iterator<Item = ((K, V), R)>) {
        match &mut self.first {
            Some(first) => {
                first.extend(rows);
                let is_enough =
                    first.len() > 4 * BUCKET || (first.len() > SAMPLE_LEAST && bytes_of(first) > SAMPLE_BYTES);
                if is_enough {
                    self.choose_ranges();
                }
            }
            None => rows.for_each(|row| self.push(row)),
        }
    }

    #[inline]
    fn push(&mut self, row: ((K, V), R)) {
        let (key, value) = &row.0;
        let is_passed = |splitter: &Option<V>| splitter.as_ref().is_none_or(|splitter| splitter <= value);
        let range = bucket_of(&self.splitters, key, is_passed);
        self.rows.push(range, row);
    }

    /// Chooses ranges into which rows like the first ones go in about equal parts.
    fn choose_ranges(&mut self) {
        let first = self.first.take().unwrap_or_default();
        let mut sample = sample_of(first.iter().map(|(row, _)| row), first.len());
        sample.sort_unstable();
        let mut splitters: Vec<_> =
            (1..BUCKETS).filter_map(|range| sample.get(range * sample.len() / BUCKETS).copied()).collect();
        splitters.dedup();
        let mut last = None;
        self.splitters = splitters
            .into_iter()
            .map(|(key, value)| {
                let is_same = last.replace(key) == Some(key);
                (key.clone(), is_same.then(|| value.clone()))
            })
            .unzip();
        first.into_iter().for_each(|row| self.push(row));
    }

    /// True if the rows of no key are both in this range and in an earlier one.
    fn begins_with_key(&self, range: usize) -> bool {
        range.checked_sub(1).is_none_or(|splitter| self.splitters.1[splitter].is_none())
    }

    /// The batch of the next ranges that have rows, until these take so many bytes; `None` if there are none.
    fn next_batch<T: Epochs>(&mut self, time: &T, bytes: usize) -> Option<Batch<K, V, T, R>>
    where
        R: Ord,
    {
        if self.first.is_some() {
            self.choose_ranges();
        }
        self.rows.make_room();
        while self.next <= self.splitters.0.len() {
            // Ranges whose rows cancel make no batch.
            if let Some(batch) = self.batch_of_some(time, bytes / self.rows.row_bytes()) {
                return Some(Rc::new(batch));
            }
        }
        None
    }

    /// Builds a batch of the next ranges, until these have so many rows.
    fn batch_of_some<T: Epochs>(&mut self, time: &T, rows: usize) -> Option<OrdValBatch<Vector<((K, V), T, R)>>>
    where
        R: Ord,
    {
        let (mut count, mut ranges) = (0, self.next..self.next);
        while ranges.end <= self.splitters.0.len() {
            let count_with = count + self.rows.len(ranges.end);
            if count > 0 && count_with > rows && self.begins_with_key(ranges.end) {
                break;
            }
            (count, ranges.end) = (count_with, ranges.end + 1);
        }
        self.next = ranges.end;
        let mut builder = ValBuilder::with_capacity(0, count, 0);
        let mut sorting = Vec::new();
        for range in ranges {
            sorting.extend(self.rows.take(range).map(|(row, diff)| (row, time.clone(), diff)));
            sort_in_parts(&mut sorting, &mut |part| builder.push(part));
        }
        builder.done()
    }
}
