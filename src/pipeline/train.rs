//! A model trained on a sample of the orders of the first epoch.
//!
//! The sample is that of the orders whose ids have the least hashes: the same for any number of workers, and however
//! rows were spread. Later epochs do not change the model: it is an input of theirs. The first epoch is the least time,
//! `T::minimum()`; a job whose times start later trains no model, and can be given one.

use std::collections::BinaryHeap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use differential_dataflow::{AsCollection, VecCollection};
use timely::Container;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Stream, StreamVec};
use twox_hash::XxHash64;

use crate::forest::{Forest, Point, Training, point};
use crate::model::{Id, Line};
use crate::operators::{ByKey, Epochs, SortedBatch};

/// An order of the sample: the hash of its id, and itself.
type Sampled = (u64, Point);

/// Given models and, if there is a training, the model trained on the orders of the first epoch.
pub(super) fn with_trained<'scope, T: Epochs, I: Id>(
    given: VecCollection<'scope, T, Arc<Forest>>,
    lines: LoadedLines<'scope, T, I>,
    training: Option<&Training>,
) -> VecCollection<'scope, T, Arc<Forest>> {
    match training {
        Some(training) => given.concat(trained(lines, training)),
        None => given,
    }
}

/// A model trained on the orders of the first epoch; none if no order has a price.
///
/// # Panics
///
/// If the training parameters are out of range; see [`Training::check`].
fn trained<'scope, T: Epochs, I: Id>(
    lines: LoadedLines<'scope, T, I>,
    training: &Training,
) -> VecCollection<'scope, T, Arc<Forest>> {
    training.check().expect("the training parameters are in range");
    let (size, seed) = (training.sample, training.seed);
    let samples = match lines {
        LoadedLines::Arranged(lines) => samples(lines.stream, size, seed, |spans, see| {
            for batch in spans.drain(..).filter_map(|span| span.inner) {
                batch.rows().filter(|(_, _, epoch, _)| **epoch == T::minimum()).for_each(|(_, line, _, _)| see(line));
            }
        }),
        LoadedLines::Unarranged(lines) => samples(lines.inner, size, seed, |updates, see| {
            let first = updates.drain(..).filter(|(_, epoch, _)| *epoch == T::minimum());
            first.for_each(|((_, line), _, _)| see(&line));
        }),
    };
    let training = training.clone();
    let models = samples.unary_frontier(Exchange::new(|_: &Sampled| 0), "Model", move |capability, _| {
        let mut capability = Some(capability);
        let mut sample: Vec<Sampled> = Vec::new();
        move |(input, frontier), output| {
            input.for_each(|_, some| sample.append(some));
            if frontier.less_equal(&T::minimum()) {
                return;
            }
            if let Some(capability) = capability.take().filter(|_| !sample.is_empty()) {
                sample.sort_unstable();
                sample.truncate(training.sample);
                let points: Vec<Point> = sample.drain(..).map(|(_, point)| point).collect();
                let model =
                    Forest::train(&points, &training).expect("there are points, and the parameters are in range");
                output.session(&capability).give((Arc::new(model), T::minimum(), 1));
            }
        }
    });
    models.as_collection()
}

/// The order lines of which a sample is taken.
pub(super) enum LoadedLines<'scope, T: Epochs, I: Id> {
    /// By customer, which costs nothing more.
    Arranged(ByKey<'scope, T, Option<I>, Line<I>>),
    /// As they are before, where the first epoch is arranged in waves: scores wait for the model.
    Unarranged(VecCollection<'scope, T, (Option<I>, Line<I>)>),
}

/// A sample of the lines of the first epoch on each worker, once it is complete. `lines` shows those in a container.
fn samples<'scope, T: Epochs, I: Id, C: Container + Clone>(
    stream: Stream<'scope, T, C>,
    size: usize,
    seed: u64,
    lines: impl Fn(&mut C, &mut dyn FnMut(&Line<I>)) + 'static,
) -> StreamVec<'scope, T, Sampled> {
    stream.unary_frontier(Pipeline, "Sample", move |capability, _| {
        let mut capability = Some(capability);
        let mut sample = Sample { size, orders: BinaryHeap::new() };
        move |(input, frontier), output| {
            input.for_each(|_, container| {
                if capability.is_some() {
                    lines(container, &mut |line| {
                        line.price.iter().for_each(|price| {
                            sample.add((hash(&line.order, seed), point(line.quantity, *price, line.discount)));
                        });
                    });
                }
            });
            if !frontier.less_equal(&T::minimum())
                && let Some(capability) = capability.take()
            {
                output.session(&capability).give_iterator(std::mem::take(&mut sample.orders).into_iter());
            }
        }
    })
}

/// The orders with the least hashes seen so far.
struct Sample {
    size: usize,
    orders: BinaryHeap<Sampled>,
}

impl Sample {
    fn add(&mut self, order: Sampled) {
        if self.orders.len() < self.size || self.orders.peek().is_some_and(|(greatest, _)| order.0 <= *greatest) {
            self.orders.push(order);
            if self.orders.len() > self.size {
                self.orders.pop();
            }
        }
    }
}

fn hash<I: Hash>(id: &I, seed: u64) -> u64 {
    let mut hasher = XxHash64::with_seed(seed);
    id.hash(&mut hasher);
    hasher.finish()
}
