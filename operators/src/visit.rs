//! One visit to each key that changed, and several questions answered in it.
//!
//! Whoever reads the sorted values of an arrangement has to find the key in every batch, and to fetch the values from memory
//! that is far away. Questions that are asked in one visit share both; an operator that asks but one is a visit of one
//! question.

use differential_dataflow::lattice::Lattice;
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use super::ByKey;
use super::sorted::{Change, Reader};

/// An operator in the making: questions are added, each gives a collection of answers, until it is built.
pub struct Visit<'scope, T: Timestamp + Lattice + TotalOrder, K: ExchangeData, V: ExchangeData> {
    builder: OperatorBuilder<'scope, T>,
    arranged: ByKey<'scope, T, K, V>,
    questions: Vec<Box<dyn Question<K, V, T>>>,
}

/// Something that is asked about a key whenever it changes.
pub(crate) trait Question<K, V, T: Timestamp> {
    /// Shows a key and what changed under it.
    fn ask(&mut self, key: &K, change: &Change<'_, V, T>, held: &CapabilitySet<T>);

    /// Gives what is still to be answered after all keys were shown.
    fn flush(&mut self, held: &CapabilitySet<T>);
}

/// Where a question's answers go.
pub(crate) struct Answers<T: Timestamp, D: Data, R: Data> {
    output: OutputBuilder<T, CapacityContainerBuilder<Vec<(D, T, R)>>>,
    waiting: Vec<(D, T, R)>,
}

/// How many answers are sent together.
const TOGETHER: usize = 1 << 10;

impl<T: Timestamp, D: Data, R: Data> Answers<T, D, R> {
    pub(crate) fn give(&mut self, answers: impl Iterator<Item = (D, T, R)>, held: &CapabilitySet<T>) {
        self.waiting.extend(answers);
        if self.waiting.len() >= TOGETHER {
            self.flush(held);
        }
    }

    pub(crate) fn flush(&mut self, held: &CapabilitySet<T>) {
        if !self.waiting.is_empty() {
            self.output.activate().session(held).give_container(&mut self.waiting);
            self.waiting.clear();
        }
    }
}

impl<'scope, T: Timestamp + Lattice + TotalOrder, K: ExchangeData, V: ExchangeData> Visit<'scope, T, K, V> {
    /// Nothing is asked yet.
    pub fn new(arranged: ByKey<'scope, T, K, V>, name: &str) -> Self {
        let builder = OperatorBuilder::new(name.to_owned(), arranged.stream.scope());
        Visit { builder, arranged, questions: Vec::new() }
    }

    /// Adds the question that `ask` makes.
    pub(crate) fn add<D: Data, R: Data, Q: Question<K, V, T> + 'static>(
        &mut self,
        ask: impl FnOnce(Answers<T, D, R>) -> Q,
    ) -> VecCollection<'scope, T, D, R> {
        let (output, stream) = self.builder.new_output();
        let answers = Answers { output: OutputBuilder::from(output), waiting: Vec::new() };
        self.questions.push(Box::new(ask(answers)));
        stream.as_collection()
    }

    /// Makes the operator.
    pub fn build(self) {
        let Visit { mut builder, arranged, mut questions } = self;
        if questions.is_empty() {
            // An operator was announced, so there must be one.
            return builder.build(|_| |_| ());
        }
        let mut input = builder.new_input(arranged.stream, Pipeline);
        let mut reader = Reader::new(arranged.trace);
        builder.build(move |_| {
            move |frontiers| {
                if let Some(arrival) = reader.receive(&mut input, questions.len()) {
                    arrival.for_each_key(|key, change| {
                        for (question, held) in questions.iter_mut().zip(&arrival.capabilities) {
                            question.ask(key, change, held);
                        }
                    });
                    questions.iter_mut().zip(&arrival.capabilities).for_each(|(question, held)| question.flush(held));
                }
                reader.release(&frontiers[0]);
            }
        });
    }
}
