//! Fused reductions over one arrangement: each changed key is looked up once.
//!
//! A reduction that reads sorted values has to find each changed key in every batch, and cache misses on its values
//! dominate its cost. Reductions that share an operator share both. The free functions
//! [`reduce_summed`](crate::reduce_summed()), [`accumulate_distinct`](crate::accumulate_distinct()) and
//! [`accumulate_distinct_unsorted`](crate::accumulate_distinct_unsorted()) are shared reductions of one.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Timestamp;

use crate::batch::ByKey;
use crate::bounds::Epochs;
use crate::key_changes::{KeyChange, TraceFollower};

/// An operator under construction: reductions of one arrangement, each with a collection of its own, that share the
/// look-up of each changed key.
///
/// Add [`Reductions`] with [`reduce_summed`](Reductions::reduce_summed),
/// [`accumulate_distinct`](Reductions::accumulate_distinct) and
/// [`accumulate_distinct_unsorted`](Reductions::accumulate_distinct_unsorted), then call [`build`](Self::build). *Cost
/// per change*: O(log n) to find the key, and what the reductions read. *State*: none beside the arrangement and the
/// reductions' own.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::SharedReduce;
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([(1, 'M'), (1, 'T'), (1, 'T'), (2, 'M')]).1.arrange_by_key();
///     let by_customer = SharedReduce::new(orders, "Customers");
///     let last = by_customer.reduce_summed(
///         |_, _| (),
///         |customer, days, (), rows| rows.extend(days.descending().map(|(day, _)| (*customer, *day)).next()),
///     );
///     let daily = by_customer.accumulate_distinct(1_isize, |_, day| Some(*day), |_, day| *day, |_, _| None);
///     by_customer.build();
///     last.assert_eq(scope.new_collection_from([(1, 'T'), (2, 'M')]).1);
///     daily.assert_eq(scope.new_collection_from(['M', 'M', 'T']).1);
/// });
/// ```
///
/// # Panics
///
/// Timely panics when the dataflow is complete if `build` was not called.
#[must_use = "the operator does not exist until `build` is called"]
pub struct SharedReduce<'scope, T: Epochs, K: ExchangeData, V: ExchangeData>(Reductions<'scope, T, K, V>);

/// The reductions of a [`SharedReduce`], to which more can be added until it is built. Clones add to the same operator.
///
/// # Panics
///
/// Its methods panic once the operator is built.
#[derive(Clone)]
pub struct Reductions<'scope, T: Epochs, K: ExchangeData, V: ExchangeData> {
    name: Rc<str>,
    /// The time after the last wave, where keys come in waves.
    after: Option<T>,
    parts: Rc<RefCell<Option<Parts<'scope, T, K, V>>>>,
}

impl<'scope, T: Epochs, K: ExchangeData, V: ExchangeData> Deref for SharedReduce<'scope, T, K, V> {
    type Target = Reductions<'scope, T, K, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// What the operator is built from.
struct Parts<'scope, T: Epochs, K: ExchangeData, V: ExchangeData> {
    builder: OperatorBuilder<'scope, T>,
    arranged: ByKey<'scope, T, K, V>,
    reducers: Vec<Box<dyn Reducer<K, V, T>>>,
}

/// A reduction of each key that changed.
pub(crate) trait Reducer<K, V, T: Timestamp> {
    /// Reads ahead what is kept of some keys that changed.
    fn read_ahead(&self, _keys: &[&K], _changes: &[KeyChange<'_, V, T>]) {}

    /// Reduces a key, given what changed under it.
    fn reduce(&mut self, key: &K, change: &KeyChange<'_, V, T>, held: &CapabilitySet<T>);

    /// Sends what is buffered, after all keys were reduced.
    fn flush(&mut self, held: &CapabilitySet<T>);

    /// True if it adds up over all keys, which is sent once where keys come in waves.
    fn is_sum(&self) -> bool {
        false
    }
}

/// The output of one reduction, and updates that wait to be sent together.
pub(crate) struct OutputBuffer<T: Timestamp, D: Data, R: Data> {
    output: OutputBuilder<T, CapacityContainerBuilder<Vec<(D, T, R)>>>,
    updates: Vec<(D, T, R)>,
}

/// Updates that are sent together.
const UPDATES: usize = 1 << 10;

impl<T: Timestamp, D: Data, R: Data> OutputBuffer<T, D, R> {
    pub(crate) fn extend(&mut self, updates: impl Iterator<Item = (D, T, R)>, held: &CapabilitySet<T>) {
        self.updates.extend(updates);
        if self.updates.len() >= UPDATES {
            self.flush(held);
        }
    }

    pub(crate) fn flush(&mut self, held: &CapabilitySet<T>) {
        if !self.updates.is_empty() {
            self.output.activate().session(held).give_container(&mut self.updates);
            self.updates.clear();
        }
    }
}

impl<'scope, T: Epochs, K: ExchangeData, V: ExchangeData> SharedReduce<'scope, T, K, V> {
    /// An operator without reductions.
    pub fn new(arranged: ByKey<'scope, T, K, V>, name: &str) -> Self {
        let builder = OperatorBuilder::new(name.to_owned(), arranged.stream.scope());
        let parts = Parts { builder, arranged, reducers: Vec::new() };
        SharedReduce(Reductions { name: name.into(), after: None, parts: Rc::new(RefCell::new(Some(parts))) })
    }

    /// An operator over [rows in waves](crate::arrange_in_waves): nothing is kept of a key, and sums over all keys are
    /// sent at `after`.
    pub fn in_waves(arranged: ByKey<'scope, T, K, V>, name: &str, after: T) -> Self {
        let SharedReduce(reductions) = SharedReduce::new(arranged, name);
        SharedReduce(Reductions { after: Some(after), ..reductions })
    }

    /// Builds the operator, unless it is built.
    pub fn build(&self) {
        let name = Rc::clone(&self.name);
        let Some(Parts { mut builder, arranged, mut reducers }) = self.parts.take() else { return };
        if reducers.is_empty() {
            // The operator's index is allocated, so an operator must take it.
            return builder.build(|_| |_| ());
        }
        let after = self.after.clone();
        let mut follower = TraceFollower::new(&name, &arranged.stream.scope(), arranged.trace);
        let mut input = builder.new_input(arranged.stream, Pipeline);
        builder.build(move |capabilities| {
            let after = after.map(|after| capabilities.iter().map(|held| held.delayed(&after)).collect::<Vec<_>>());
            let mut after = after.unwrap_or_default();
            move |frontiers| {
                if let Some(batches) = follower.receive(&mut input, reducers.len()) {
                    batches.for_keys(|keys, changes| {
                        for (reducer, held) in reducers.iter_mut().zip(&batches.capabilities) {
                            reducer.read_ahead(keys, changes);
                            keys.iter().zip(changes).for_each(|(key, change)| reducer.reduce(key, change, held));
                        }
                    });
                    let flushed = reducers.iter_mut().zip(&batches.capabilities);
                    let flushed = flushed.filter(|(reducer, _)| after.is_empty() || !reducer.is_sum());
                    flushed.for_each(|(reducer, held)| reducer.flush(held));
                }
                if frontiers[0].is_empty() {
                    for (reducer, held) in reducers.iter_mut().zip(after.drain(..)) {
                        reducer.flush(&CapabilitySet::from_elem(held));
                    }
                }
                follower.release(&frontiers[0]);
            }
        });
    }
}

impl<'scope, T: Epochs, K: ExchangeData, V: ExchangeData> Reductions<'scope, T, K, V> {
    /// The operator's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The time at which sums are sent; `None` for that of their rows.
    pub(crate) fn after(&self) -> Option<T> {
        self.after.clone()
    }

    /// Adds the reduction that `make` makes of its output.
    pub(crate) fn add<D: Data, R: Data, M: Reducer<K, V, T> + 'static>(
        &self,
        make: impl FnOnce(OutputBuffer<T, D, R>) -> M,
    ) -> VecCollection<'scope, T, D, R> {
        let mut parts = self.parts.borrow_mut();
        let Parts { builder, reducers, .. } = parts.as_mut().unwrap_or_else(|| self.is_built());
        let (output, stream) = builder.new_output();
        let output = OutputBuffer { output: OutputBuilder::from(output), updates: Vec::new() };
        reducers.push(Box::new(make(output)));
        stream.as_collection()
    }

    fn is_built(&self) -> ! {
        panic!("SharedReduce {:?}: the operator is built already", self.name)
    }
}
