//! Applying a function to a collection.

use std::sync::Arc;

use differential_dataflow::difference::Semigroup;
use differential_dataflow::{AsCollection, Data, VecCollection};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Timestamp;

use crate::model::Text;

use super::function::Udf;
use super::{Arguments, Value};

/// A row on which a function failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rejected<D> {
    /// The row.
    pub row: D,
    /// The name of the function.
    pub function: Arc<str>,
    /// The reason.
    pub reason: Text,
}

impl<A: Arguments, B: Value> Udf<A, B> {
    /// Maps each row with `with(row, result)`; returns the mapped rows and those on which the function failed.
    ///
    /// `arguments` extracts the arguments of a row. Rows are processed in batches of a few hundred, without an
    /// exchange; a vectorised function is called once per batch.
    ///
    /// *Updates per change*: 1. *Cost*: one call. *State*: none. *Times*: any. The function and `with` must be pure:
    /// see the [module](super).
    pub fn apply<'scope, T, D, R, E>(
        &self,
        rows: VecCollection<'scope, T, D, R>,
        arguments: impl Fn(&D) -> A::Nullable + 'static,
        with: impl Fn(D, Option<B>) -> E + 'static,
    ) -> (VecCollection<'scope, T, E, R>, VecCollection<'scope, T, Rejected<D>, R>)
    where
        T: Timestamp,
        D: Data,
        R: Data + Semigroup,
        E: Data,
    {
        let function = self.clone();
        let mut builder = OperatorBuilder::new(self.name().to_owned(), rows.inner.scope());
        let mut input = builder.new_input(rows.inner, Pipeline);
        let (answered, answered_stream) = builder.new_output();
        let (rejected, rejected_stream) = builder.new_output();
        let mut answered = OutputBuilder::<_, CapacityContainerBuilder<Vec<(E, T, R)>>>::from(answered);
        let mut rejected = OutputBuilder::<_, CapacityContainerBuilder<Vec<(Rejected<D>, T, R)>>>::from(rejected);
        builder.build(move |_| {
            move |_| {
                let (mut answered, mut rejected) = (answered.activate(), rejected.activate());
                input.for_each(|capability, updates| {
                    let rows: Vec<_> = updates.iter().map(|(row, _, _)| arguments(row)).collect();
                    let (to_answered, to_rejected) = (capability.retain_stamp(0), capability.retain_stamp(1));
                    let mut answers = answered.session(&to_answered);
                    let mut rejections = rejected.session(&to_rejected);
                    for ((row, time, diff), outcome) in updates.drain(..).zip(function.outcomes(&rows)) {
                        match outcome {
                            Ok(answer) => answers.give((with(row, answer), time, diff)),
                            Err(failure) if function.gives_null && !failure.panicked => {
                                answers.give((with(row, None), time, diff));
                            }
                            Err(failure) => {
                                let function = Arc::clone(&function.name);
                                rejections.give((Rejected { row, function, reason: failure.reason }, time, diff));
                            }
                        }
                    }
                });
            }
        });
        (answered_stream.as_collection(), rejected_stream.as_collection())
    }
}
