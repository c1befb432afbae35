//! What the join of `enriched_data` reads, and its rows as a collection.

use std::sync::Arc;

use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::Span;
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::{AsCollection, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};
use timely::progress::Antichain;
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;

use crate::model::{Account, Id, Line, Product};
use crate::operators::{Batch, Epochs, to_all_workers};

use super::enriched::{Enriched, EnrichedJoin, EnrichedReader, EnrichedRows, Unjoined};
use super::job::Job;

type LineTrace<T, I> = TraceAgent<ValSpine<Option<I>, Line<I>, T, isize>>;
type LineSpan<T, I> = Span<T, Batch<Option<I>, Line<I>, T>>;

/// The streams that the join reads.
pub(crate) struct EnrichedInputs<'scope, T: Epochs, I: Id> {
    lines: Stream<'scope, T, Vec<LineSpan<T, I>>>,
    trace: Option<LineTrace<T, I>>,
    accounts: StreamVec<'scope, T, ((Option<I>, Arc<Account>), T, isize)>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
    buyers: Option<StreamVec<'scope, T, (Option<I>, T, isize)>>,
    is_in_waves: bool,
}

/// Takes what has arrived at the inputs of the join, also for look-ups.
pub(crate) type Receive<T, I> = Box<dyn FnMut(&mut EnrichedJoin<T, I>, Option<&mut EnrichedReader<T, I>>)>;

impl<'scope, T: Epochs, I: Id> Job<'scope, T, I> {
    /// The parts of `enriched_data`: lines, accounts, products, and, if anything may change after the first epoch, who
    /// bought a product that did.
    pub(crate) fn enriched_inputs(&self, stays: bool) -> EnrichedInputs<'scope, T, I> {
        let Arranged { stream, trace } = self.lines_by_customer();
        EnrichedInputs {
            lines: stream,
            trace: stays.then_some(trace),
            accounts: self.accounts().inner,
            products: self.products(),
            buyers: stays.then(|| self.buyers_of_changed()),
            is_in_waves: self.is_in_waves(),
        }
    }

    /// Every order with its product, its customer, and the customer's total and tier.
    ///
    /// *Cost per change*: the changed lines; of a customer whose account changed, or who bought a product that changed
    /// in another column than its price, all lines. *State*: the accounts by customer and the products by id, by
    /// reference; no row.
    #[must_use]
    pub fn enriched_rows(&self) -> VecCollection<'scope, T, Enriched<I>> {
        let scope = self.products().scope();
        let mut builder = OperatorBuilder::new("Enriched orders".into(), scope);
        let (output, rows) = builder.new_output();
        let mut output = OutputBuilder::<T, CapacityContainerBuilder<Vec<(Enriched<I>, T, isize)>>>::from(output);
        let (mut join, mut receive) = self.enriched_inputs(true).connect(&mut builder);
        let activator = Activator::new(builder.operator_info().address, scope.activations());
        builder.build_reschedule(move |mut capabilities| {
            let mut capability = capabilities.pop();
            move |frontiers| {
                receive(&mut join, None);
                let frontier = least(frontiers);
                if let Some(held) = &mut capability {
                    let mut output = output.activate();
                    let left = join.join(frontier.borrow(), None, |epoch, rows| {
                        let mut session = output.session(&held);
                        rows.for_each(|row, diff| session.give((row, epoch.clone(), diff)));
                        Ok::<(), std::convert::Infallible>(())
                    });
                    let Ok(left) = left;
                    if left != Unjoined::Nothing {
                        activator.activate();
                        return true;
                    }
                    match frontier.first() {
                        Some(epoch) => held.downgrade(epoch),
                        None => capability = None,
                    }
                }
                join.compact(frontier.borrow());
                false
            }
        });
        rows.as_collection()
    }
}

/// The least time of some inputs' frontiers.
pub(crate) fn least<T: Epochs>(frontiers: &[MutableAntichain<T>]) -> Antichain<T> {
    let mut least = Antichain::new();
    for frontier in frontiers {
        least.extend(frontier.frontier().iter().cloned());
    }
    least
}

impl<'scope, T: Epochs, I: Id> EnrichedInputs<'scope, T, I> {
    /// What looks rows up; `None` if nothing changes after the first epoch.
    pub(crate) fn reader(&self) -> Option<EnrichedReader<T, I>> {
        self.trace.clone().map(EnrichedReader::new)
    }

    /// Makes the streams inputs of an operator.
    pub(crate) fn connect(self, builder: &mut OperatorBuilder<'scope, T>) -> (EnrichedJoin<T, I>, Receive<T, I>) {
        let (products, to_worker) = to_all_workers(self.products, "Products to all workers");
        let mut lines = builder.new_input(self.lines, Pipeline);
        let mut accounts = builder.new_input(self.accounts, Pipeline);
        let mut products = builder.new_input(products, to_worker);
        let by_customer =
            Exchange::new(|(customer, _, _): &(Option<I>, T, isize)| differential_dataflow::Hashable::hashed(customer));
        let mut buyers = self.buyers.map(|buyers| builder.new_input(buyers, by_customer));
        let receive = move |join: &mut EnrichedJoin<T, I>, mut reader: Option<&mut EnrichedReader<T, I>>| {
            lines.for_each(|_, spans| {
                spans.drain(..).filter_map(|span| span.inner).for_each(|batch| join.take_lines(batch))
            });
            accounts.for_each(|_, updates| {
                reader.iter_mut().for_each(|reader| reader.take_accounts(updates));
                join.take_accounts(updates.drain(..));
            });
            products.for_each(|message, updates| {
                // Products are given from outside, so their messages may have no time, and no effect.
                if !message.stamp().is_empty() {
                    reader.iter_mut().for_each(|reader| reader.take_products(updates.iter().map(|(_, update)| update)));
                    join.take_products(updates.drain(..).map(|(_, update)| update));
                }
            });
            buyers.iter_mut().for_each(|buyers| buyers.for_each(|_, updates| join.take_buyers(updates.drain(..))));
        };
        (EnrichedJoin::new(self.trace, self.is_in_waves), Box::new(receive))
    }
}

impl<I: Id> EnrichedRows<'_, I> {
    /// Gives each row with its weight.
    fn for_each(self, mut give: impl FnMut(Enriched<I>, isize)) {
        match self {
            EnrichedRows::First(parts, items) => parts.iter().for_each(|part| {
                let row = Enriched {
                    customer: part.customer.clone(),
                    line: part.line.clone(),
                    item: part.item.map(|item| Arc::clone(&items[item as usize])),
                    account: Arc::clone(part.account),
                };
                give(row, 1);
            }),
            EnrichedRows::Differing(rows) => rows.iter().for_each(|(row, diff)| give(row.clone(), *diff)),
        }
    }
}
