//! Where updates are sent: to the worker of their key, or to every worker.

use std::hash::{BuildHasher, Hash};

use differential_dataflow::{Data, ExchangeData, Hashable, VecCollection};
use foldhash::fast::{FixedState, FoldHasher};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::progress::Timestamp;

/// The hash that selects a key's worker. It is differential's own, so that every arrangement by key can be joined with
/// every other.
pub(crate) fn route<K: Hash>(key: &K) -> u64 {
    key.hashed()
}

/// The hash function of maps inside one worker.
///
/// It must differ from [`route`]: all keys of a worker have the same remainder under that one, and would share buckets.
#[derive(Clone)]
pub(crate) struct LocalHash(FixedState);

impl Default for LocalHash {
    fn default() -> Self {
        LocalHash(FixedState::with_seed(0x006d_696c_6c73))
    }
}

/// Into how many parts keys are dealt by [`part_of`].
pub(crate) const PARTS: usize = 1 << 8;

/// The part of a key with this [hash](LocalHash), whose lowest and highest bits hash tables use.
pub(crate) fn part_of(hash: u64) -> usize {
    usize::from(hash.to_le_bytes()[4])
}

impl BuildHasher for LocalHash {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// An update, after the index of the worker that it is sent to.
pub type ToWorker<D, T, R = isize> = (u64, (D, T, R));

/// A copy of every update for every worker, and the pact that delivers them.
///
/// The pair are the arguments of an operator's input, such as that of [`unary_frontier`]. The input receives each
/// update after the index of its worker. Timely's `broadcast` does the same with three operators instead of one.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::to_all_workers;
/// use timely::dataflow::operators::generic::Operator;
///
/// timely::example(|scope| {
///     let rates = scope.new_collection_from([('F', 33), ('D', 49)]).1;
///     let (updates, to_worker) = to_all_workers(rates, "Rates to all");
///     updates.sink(to_worker, "Rates", |(input, _frontier)| {
///         input.for_each(|_, updates| {
///             for (_worker, ((country, dial), _time, diff)) in updates.drain(..) {
///                 assert!(matches!((country, dial, diff), ('F', 33, 1) | ('D', 49, 1)));
///             }
///         });
///     });
/// });
/// ```
///
/// [`unary_frontier`]: timely::dataflow::operators::generic::Operator::unary_frontier
pub fn to_all_workers<'scope, T: Timestamp, D: ExchangeData, R: ExchangeData + Data>(
    rows: VecCollection<'scope, T, D, R>,
    name: &str,
) -> (
    StreamVec<'scope, T, ToWorker<D, T, R>>,
    Exchange<ToWorker<D, T, R>, impl FnMut(&ToWorker<D, T, R>) -> u64 + 'static>,
) {
    let peers = rows.scope().peers() as u64;
    let updates = rows.inner.unary(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|message, updates| {
                let mut session = output.session(&message);
                for update in updates.drain(..) {
                    session.give_iterator((0..peers).map(|worker| (worker, update.clone())));
                }
            });
        }
    });
    (updates, Exchange::new(|(worker, _): &ToWorker<D, T, R>| *worker))
}
