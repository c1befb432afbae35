//! Runs operators over a history of changes, and says what they held after each epoch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use differential_dataflow::input::Input;
use differential_dataflow::{Data, ExchangeData, VecCollection};
use timely::dataflow::operators::probe::Handle;

/// By how much the weights of rows change, epoch by epoch.
pub(crate) type Changes<D> = Vec<Vec<(D, isize)>>;
/// What a collection holds: its records and their weights.
pub(crate) type Held<D> = BTreeMap<D, isize>;

type Updates<D> = Arc<Mutex<Vec<(D, u64, isize)>>>;

/// What is held after each epoch.
pub(crate) fn states<D: Ord + Clone>(history: &[Vec<(D, isize)>]) -> Vec<Held<D>> {
    let mut held: Held<D> = BTreeMap::new();
    let after = |changes: &Vec<(D, isize)>| {
        changes.iter().for_each(|(row, change)| *held.entry(row.clone()).or_default() += change);
        held.retain(|_, weight| *weight != 0);
        held.clone()
    };
    history.iter().map(after).collect()
}

/// The updates that each of some operators sends for a history, with so many epochs in flight together. Rows are spread
/// over the workers.
pub(crate) fn drive<R: ExchangeData + Sync, D: Data + Send>(
    history: &Changes<R>,
    workers: usize,
    in_flight: u64,
    operators: impl for<'a> Fn(VecCollection<'a, u64, R>) -> Vec<VecCollection<'a, u64, D>> + Send + Sync + 'static,
) -> Vec<Changes<D>> {
    let outputs: Arc<Mutex<Vec<Updates<D>>>> = Arc::default();
    let (made, changes) = (Arc::clone(&outputs), history.clone());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers, probe) = (worker.index(), worker.peers(), Handle::new());
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<R, isize>();
            for (nth, output) in operators(rows).into_iter().enumerate() {
                let mut made = made.lock().expect("no panic");
                if made.len() <= nth {
                    made.push(Arc::default());
                }
                let kept = Arc::clone(&made[nth]);
                let keep = move |update: &(D, u64, isize)| kept.lock().expect("no panic").push(update.clone());
                output.inspect(keep).probe_with(&probe);
            }
            input
        });
        for (epoch, changes) in (1..).zip(&changes) {
            for (row, change) in changes.iter().skip(index).step_by(peers) {
                input.update(row.clone(), *change);
            }
            input.advance_to(epoch);
            input.flush();
            if epoch.is_multiple_of(in_flight) {
                worker.step_while(|| probe.less_than(&epoch));
            }
        }
    });
    guards.expect("workers start").join().into_iter().for_each(|result| result.expect("no worker panics"));
    let by_epoch = |updates: &Updates<D>| {
        let mut by_epoch = vec![Vec::new(); history.len()];
        for (record, epoch, diff) in updates.lock().expect("no panic").drain(..) {
            by_epoch[usize::try_from(epoch).expect("small")].push((record, diff));
        }
        by_epoch
    };
    outputs.lock().expect("no panic").iter().map(by_epoch).collect()
}
