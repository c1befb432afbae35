//! The model of a run: trained on a sample of what epoch 0 has, unless there is one in a file.
//!
//! The sample is that of the orders whose ids have the least hashes: the same for any number of workers, and however rows
//! were spread. A model is input, so later epochs do not change it; they may bring another.

use std::collections::BinaryHeap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use twox_hash::XxHash64;

use crate::error::Error;
use crate::io::cells::IdColumn;
use crate::model::Line;
use crate::operators::ByKey;
use crate::udf::forest::{Forest, Point, Training, point};

use super::{Epoch, Work};

/// An order of the sample: the hash of its id, and itself.
type Sampled = (u64, Point);

/// A model that is trained on the orders of epoch 0.
pub(super) fn trained<'scope, I: IdColumn>(
    lines: ByKey<'scope, Epoch, Option<I>, Line<I>>,
    training: &Training,
    work: &Arc<Work>,
) -> VecCollection<'scope, Epoch, Arc<Forest>> {
    let (most, seed) = (training.sample, training.seed);
    let samples = lines.stream.unary_frontier(Pipeline, "Sample", move |capability, _| {
        let mut capability = Some(capability);
        let mut sample: BinaryHeap<Sampled> = BinaryHeap::new();
        move |(input, frontier), output| {
            input.for_each(|_, spans| {
                // Epoch 0 is over before another begins, so that its batch comes alone.
                for batch in spans.drain(..).filter_map(|span| span.inner).filter(|_| capability.is_some()) {
                    for line in &batch.storage.vals.vals {
                        let hash = hash(&line.order, seed);
                        if let Some(price) = line.price
                            && (sample.len() < most || sample.peek().is_some_and(|(greatest, _)| hash <= *greatest))
                        {
                            sample.push((hash, point(line.quantity, price, line.discount)));
                            if sample.len() > most {
                                sample.pop();
                            }
                        }
                    }
                }
            });
            if !frontier.less_equal(&0)
                && let Some(capability) = capability.take()
            {
                output.session(&capability).give_iterator(std::mem::take(&mut sample).into_iter());
            }
        }
    });
    let (training, work) = (training.clone(), Arc::clone(work));
    let models = samples.unary_frontier(Exchange::new(|_: &Sampled| 0), "Model", move |capability, _| {
        let mut capability = Some(capability);
        let mut sample: Vec<Sampled> = Vec::new();
        move |(input, frontier), output| {
            input.for_each(|_, some| sample.append(some));
            if frontier.less_equal(&0) {
                return;
            }
            if let Some(capability) = capability.take().filter(|_| !sample.is_empty()) {
                sample.sort_unstable();
                sample.truncate(training.sample);
                let points: Vec<Point> = sample.drain(..).map(|(_, point)| point).collect();
                match Forest::train(&points, &training).map(Arc::new) {
                    Ok(model) => {
                        work.set_model(&model);
                        output.session(&capability).give((model, 0, 1));
                    }
                    Err(reason) => work.fail(Error::failed(reason)),
                }
            }
        }
    });
    models.as_collection()
}

fn hash<I: Hash>(id: &I, seed: u64) -> u64 {
    let mut hasher = XxHash64::with_seed(seed);
    id.hash(&mut hasher);
    hasher.finish()
}
