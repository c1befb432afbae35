//! Rows with one record that all of them need and that may change: a model, an exchange rate, a setting.
//!
//! This is a join in which one side has a single record. An equi-join would send all rows to the worker of that
//! record; a broadcast join would keep a copy of the rows. Here each worker holds the record, and rows are read from
//! an existing arrangement: all of them when the record changes, otherwise only those that change.
//!
//! ```text
//! arranged rows ── batches ──▶ logic(rows, record) ──▶ answers
//!        └──────── trace ──────────▲
//! side input ── to all workers ────┘ a new record: each row's answer is retracted and replaced
//! ```
//!
//! *Updates per change*: 1 for a row; 2 for each row when the record changes, and pairs that cancel for rows that
//! change in the same epoch. *Cost*: a call of the logic for each of these; retractions are recomputed, so the logic
//! must be pure. *State*: the record on every worker; none beside the arrangement. *Times*: totally ordered.

mod walk;

use std::fmt::Debug;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::cursor::cursor_list;
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{Description, Span, TraceReader};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::frontier::{Antichain, MutableAntichain};
use timely::scheduling::Activator;

use crate::batch::{Batch, ByKey, SortedBatch};
use crate::bounds::Epochs;
use crate::exchange::to_all_workers;
use crate::received::Received;
use crate::stash::Stash;
use crate::unique::{Settled, Weighted, settle};
use walk::{BLOCK_ROWS, RecordWalk, RowBlock, SendAnswers};

/// Applies `logic` to each row and the one record of `side`, or `None` while there is none.
///
/// `logic` gets some rows and must push an answer for each, in order, that depends on that row and the record alone.
///
/// # Panics
///
/// If `side` has two different records at one time, or one of negative weight, or if `logic` pushes more or fewer
/// answers than rows. Copies of one record count as one.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::with_side_input;
///
/// timely::example(|scope| {
///     let prices = scope.new_collection_from([('T', 4), ('M', 5)]).1.arrange_by_key();
///     let rate = scope.new_collection_from([110]).1;
///     let converted = with_side_input(prices, rate, "Converted", |rows, rate, answers| {
///         answers.extend(rows.iter().map(|(product, price)| (**product, rate.map(|rate| **price * rate))));
///     });
///     converted.assert_eq(scope.new_collection_from([('T', Some(440)), ('M', Some(550))]).1);
/// });
/// ```
pub fn with_side_input<'scope, T: Epochs, K: ExchangeData, V: ExchangeData, S: ExchangeData, D: Data>(
    rows: ByKey<'scope, T, K, V>,
    side: VecCollection<'scope, T, S>,
    name: &str,
    logic: impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>) + 'static,
) -> VecCollection<'scope, T, D> {
    let logic = one_answer_each(name, logic);
    let scope = rows.stream.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut row_input = builder.new_input(rows.stream, Pipeline);
    let (records, to_worker) = to_all_workers(side, &format!("{name}: side input"));
    let mut side_input = builder.new_input(records, to_worker);
    let (output, answers) = builder.new_output();
    let mut output = OutputBuilder::<T, CapacityContainerBuilder<Vec<(D, T, isize)>>>::from(output);
    let activator = Activator::new(builder.operator_info().address, scope.activations());
    let mut side = SideInput::new(name, rows.trace);
    builder.build_reschedule(move |_| {
        move |frontiers| {
            row_input.for_each(|message, spans| spans.drain(..).for_each(|span| side.receive(&message, span)));
            side_input.for_each(|message, updates| {
                let updates = updates.drain(..).map(|(_, update)| update);
                side.changes.accept_updates(&message, updates, |changes, record, diff| changes.push((record, diff)));
            });
            let is_more = side.proceed([&frontiers[0], &frontiers[1]], &logic, &mut |held, mut answers| {
                output.activate().session(held).give_container(&mut answers);
            });
            if is_more {
                activator.activate();
            }
            is_more
        }
    });
    answers.as_collection()
}

/// The logic, checked to push one answer for each row.
fn one_answer_each<K: Debug, V, S, D, L: Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>)>(
    name: &str,
    logic: L,
) -> impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>) + use<K, V, S, D, L> {
    let name = name.to_owned();
    move |rows, record, answers| {
        logic(rows, record, answers);
        assert!(
            answers.len() == rows.len(),
            "with_side_input {name:?}: found {} answers for {} rows, from key {:?} on, wanted one for each",
            answers.len(),
            rows.len(),
            rows.first().map(|(key, _)| key),
        );
    }
}

/// The rows and the record of one worker.
struct SideInput<K: ExchangeData, V: ExchangeData, T: Epochs, S> {
    name: String,
    trace: Option<TraceAgent<ValSpine<K, V, T, isize>>>,
    received: Received<T>,
    /// Batches with updates that are not answered.
    novel: Vec<UnansweredBatch<K, V, T>>,
    unanswered: Unanswered<T>,
    /// Changes of the record that are not applied.
    changes: Stash<T, Vec<(S, isize)>>,
    record: Option<Weighted<S>>,
    /// True once rows have been answered.
    has_answers: bool,
    walk: Option<RecordWalk<K, V, T, S>>,
}

/// A batch that was received, and the interval of its updates.
struct UnansweredBatch<K: ExchangeData, V: ExchangeData, T: Epochs> {
    batch: Batch<K, V, T>,
    times: Description<T>,
    /// Its greatest time, if the interval has no upper bound.
    last: Option<T>,
    held: Capability<T>,
}

/// The times whose updates are not answered yet.
#[derive(Clone, PartialEq, Eq)]
enum Unanswered<T> {
    From(T),
    After(T),
}

impl<T: Ord> Unanswered<T> {
    fn has(&self, time: &T) -> bool {
        match self {
            Unanswered::From(first) => time >= first,
            Unanswered::After(last) => time > last,
        }
    }
}

impl<K: ExchangeData, V: ExchangeData, T: Epochs, S: ExchangeData> SideInput<K, V, T, S> {
    fn new(name: &str, trace: TraceAgent<ValSpine<K, V, T, isize>>) -> Self {
        SideInput {
            name: name.to_owned(),
            trace: Some(trace),
            received: Received::nothing(),
            novel: Vec::new(),
            unanswered: Unanswered::From(T::minimum()),
            changes: Stash::default(),
            record: None,
            has_answers: false,
            walk: None,
        }
    }

    fn receive(&mut self, message: &InputCapability<T>, span: Span<T, Batch<K, V, T>>) {
        self.received.advance(span.upper());
        if let (Some(batch), Some(held)) = (span.inner, message.retain_least(0)) {
            // The last batch of a closed input is bounded only by its own times.
            let is_unbounded = span.desc.upper().is_empty();
            let last = batch.storage.upds.times.iter().filter(|_| is_unbounded).max().cloned();
            self.novel.push(UnansweredBatch { batch, times: span.desc, last, held });
        }
    }

    /// Answers what can be answered, in the order of times; true if more can be. The frontiers are those of the rows
    /// and of the record.
    fn proceed<D>(
        &mut self,
        frontiers: [&MutableAntichain<T>; 2],
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        send: &mut SendAnswers<'_, T, D>,
    ) -> bool {
        loop {
            if let Some(mut walk) = self.walk.take() {
                if walk.proceed(record(&self.record), logic, send) {
                    self.walk = Some(walk);
                    return true;
                }
                self.record = walk.record;
            }
            self.answer_until_change(frontiers[1], logic, send);
            let Some((at, updates)) = self.changes.next_complete(&frontiers) else { break };
            self.change_record(at, updates, logic, send);
        }
        self.release(frontiers);
        false
    }

    /// Answers rows with the present record, up to the time at which it changes or may change.
    fn answer_until_change<D>(
        &mut self,
        frontier: &MutableAntichain<T>,
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        send: &mut SendAnswers<'_, T, D>,
    ) {
        let until = self.changes.first_time().into_iter().chain(frontier.frontier().first()).min().cloned();
        self.answer(|time| until.as_ref().is_none_or(|until| time < until), logic, send);
        if let Some(next) = until.iter().chain(self.received.frontier().first()).min() {
            self.unanswered = Unanswered::From(next.clone()).max_of(&self.unanswered);
        }
        self.novel.retain(|novel| !novel.ends_by(until.as_ref()));
        self.novel.iter_mut().for_each(|novel| novel.hold_from(until.as_ref()));
    }

    /// Answers the updates that are due and not answered yet.
    fn answer<D>(
        &mut self,
        is_due: impl Fn(&T) -> bool,
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        send: &mut SendAnswers<'_, T, D>,
    ) {
        let is_any_due = |novel: &&UnansweredBatch<K, V, T>| novel.times.lower().iter().any(&is_due);
        for UnansweredBatch { batch, held, .. } in self.novel.iter().filter(is_any_due) {
            let mut block = RowBlock::new();
            for (key, values) in batch.by_key() {
                for value in values {
                    let (times, diffs) = batch.updates(value);
                    for (time, diff) in times.iter().zip(diffs) {
                        if self.unanswered.has(time) && is_due(time) {
                            block.add((key, &batch.values()[value]), time.clone(), *diff);
                        }
                    }
                    if block.rows.len() >= BLOCK_ROWS {
                        self.has_answers = true;
                        block.answer(record(&self.record), logic, held, send);
                    }
                }
            }
            self.has_answers |= !block.rows.is_empty();
            block.answer(record(&self.record), logic, held, send);
        }
    }

    /// Begins to retract all answers, and to send those with the next record.
    fn change_record<D>(
        &mut self,
        at: Capability<T>,
        updates: Vec<(S, isize)>,
        logic: &impl Fn(&[(&K, &V)], Option<&S>, &mut Vec<D>),
        send: &mut SendAnswers<'_, T, D>,
    ) {
        let mut updates = updates;
        consolidate(&mut updates);
        let mut record = self.record.clone();
        match settle(record.as_mut(), updates.into_iter()) {
            Settled::Unchanged => return self.record = record,
            Settled::Replaced(_) => (),
            Settled::Inserted(new) => record = Some(new),
            Settled::Deleted => record = None,
            Settled::Violated(found) => panic!(
                "with_side_input {:?}: found {found} at time {:?}, wanted at most one record",
                self.name,
                at.time()
            ),
        }
        // Rows that change at this time are first answered with the former record, except where no answers exist that
        // would have to be retracted, as in a first epoch.
        if self.has_answers {
            self.answer(|time| time <= at.time(), logic, send);
        }
        self.unanswered = Unanswered::After(at.time().clone());
        let (rows, batches) = cursor_list(self.batches());
        self.walk = Some(RecordWalk { at, record, retracts: self.has_answers, rows, batches });
        self.has_answers = true;
    }

    /// All rows received. Before the first answer these are the received batches, which are exact at every time;
    /// an imported trace may have been compacted past some.
    fn batches(&mut self) -> Vec<Batch<K, V, T>> {
        if !self.has_answers {
            return self.novel.iter().map(|novel| Rc::clone(&novel.batch)).collect();
        }
        let trace = self.trace.as_mut().expect("with_side_input keeps its trace while the record may change");
        let batches = trace.batches_through(self.received.frontier());
        batches.unwrap_or_else(|| {
            panic!("with_side_input {:?}: the trace was compacted past what was received", self.name)
        })
    }

    /// Lets the trace compact, and drops it when the record can't change any more.
    fn release(&mut self, frontiers: [&MutableAntichain<T>; 2]) {
        if frontiers[1].is_empty() && self.changes.first_time().is_none() {
            self.trace = None;
        } else if let Some(trace) = &mut self.trace {
            // A record that changes later changes at one of the times that are not answered, or after.
            let (Unanswered::From(time) | Unanswered::After(time)) = &self.unanswered;
            trace.set_logical_compaction(Antichain::from_elem(time.clone()).borrow());
            self.received.advance_through(trace, frontiers[0].frontier());
            trace.set_physical_compaction(self.received.frontier());
        }
    }
}

/// The record, without its weight.
fn record<S>(record: &Option<Weighted<S>>) -> Option<&S> {
    record.as_ref().map(|(record, _)| record)
}

impl<T: Ord + Clone> Unanswered<T> {
    /// The later of two.
    fn max_of(self, other: &Self) -> Self {
        let (Unanswered::From(first) | Unanswered::After(first)) = &self;
        if other.has(first) { self } else { other.clone() }
    }
}

impl<K: ExchangeData, V: ExchangeData, T: Epochs> UnansweredBatch<K, V, T> {
    /// True if all its updates are before this time.
    fn ends_by(&self, time: Option<&T>) -> bool {
        time.is_none_or(|time| match self.times.upper().first() {
            Some(upper) => upper <= time,
            None => self.last.as_ref().is_none_or(|last| last < time),
        })
    }

    /// Releases the times before this one.
    fn hold_from(&mut self, time: Option<&T>) {
        if let Some(time) = time.filter(|time| self.held.time() < *time) {
            self.held.downgrade(time);
        }
    }
}
