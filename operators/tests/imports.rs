//! Operators over an imported trace that was merged after the import.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::VecCollection;
use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::input::{Input, InputSession};
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::TraceReader;
use millstream_operators::{ByKey, distinct_count, reduce_sorted, with_side_input};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::progress::Antichain;

type Row = (u8, u32);

/// The arrangement, whose batches are in flight for some steps.
fn delayed(arranged: ByKey<'_, u64, u8, u32>, steps: usize) -> ByKey<'_, u64, u8, u32> {
    let scope = arranged.stream.scope();
    let stream = arranged.stream.unary_frontier(Pipeline, "Delay", move |_, info| {
        let activator = scope.activator_for(info.address);
        let (mut held, mut steps) = (Vec::new(), steps);
        move |(input, _), output| {
            input.for_each(|capability, batches| held.push((capability.retain_stamp(0), std::mem::take(batches))));
            if steps == 0 {
                held.drain(..).for_each(|(stamp, mut batches)| output.session(&stamp).give_container(&mut batches));
            } else {
                steps -= 1;
                activator.activate();
            }
        }
    });
    Arranged { stream, trace: arranged.trace }
}

fn step(worker: &mut timely::worker::Worker, input: &mut InputSession<u64, Row, isize>, epoch: u64) {
    input.advance_to(epoch);
    input.flush();
    for _ in 0..20 {
        worker.step();
    }
}

/// One worker, whose traces are merged while it has nothing else to do.
fn eager_to_merge() -> timely::Config {
    let mut worker = timely::WorkerConfig::default();
    differential_dataflow::configure(&mut worker, &differential_dataflow::Config { idle_merge_effort: Some(1000) });
    timely::Config { communication: timely::CommunicationConfig::Thread, worker }
}

/// What an operator sends over an imported trace. Ten rows are inserted at 0 and retracted at 1; the import delivers both
/// batches only after the trace has merged them to nothing. Rows are inserted at 20 and at 21.
fn over_an_import(
    operator: impl for<'a> Fn(ByKey<'a, u64, u8, u32>) -> VecCollection<'a, u64, Row> + Send + Sync + 'static,
) -> Vec<(Row, u64, isize)> {
    let guards = timely::execute(eager_to_merge(), move |worker| {
        let (mut input, mut trace) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<Row, isize>();
            (input, rows.arrange_by_key().trace)
        });
        for (epoch, diff) in [(1, 1), (2, -1)] {
            (0..10).for_each(|row| input.update((7, 10 + row), diff));
            step(worker, &mut input, epoch);
        }
        trace.set_logical_compaction(Antichain::from_elem(2).borrow());
        trace.set_physical_compaction(Antichain::from_elem(2).borrow());
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        worker.dataflow::<u64, _, _>(|scope| {
            let imported = delayed(trace.import(scope), 100);
            operator(imported).inspect(move |update| kept.borrow_mut().push(*update));
        });
        drop(trace);
        (10..=20).for_each(|epoch| step(worker, &mut input, epoch));
        for (epoch, row) in [(21, 5), (22, 4)] {
            input.insert((7, row));
            step(worker, &mut input, epoch);
        }
        let mut sent = sent.take();
        consolidate_updates(&mut sent);
        sent
    });
    guards.expect("the worker starts").join().remove(0).expect("the worker does not panic")
}

#[test]
fn batches_that_were_merged_before_they_arrived_are_reduced() {
    let sent = over_an_import(|rows| {
        reduce_sorted(rows, "Least", |_, values, least| {
            least.extend(values.ascending().map(|(value, _)| *value).next())
        })
    });
    let expected = [((7, 4), 21, 1), ((7, 5), 20, 1), ((7, 5), 21, -1), ((7, 10), 0, 1), ((7, 10), 1, -1)];
    assert_eq!(sent, expected);
}

#[test]
fn batches_that_were_merged_before_they_arrived_are_answered() {
    let sent = over_an_import(|rows| {
        let scope = rows.stream.scope();
        let rate = scope.new_collection_from([100]).1.map(|rate: u32| rate);
        with_side_input(rows, rate, "Answers", |rows, rate, answers| {
            answers.extend(rows.iter().map(|(key, value)| (**key, **value * rate.copied().unwrap_or(0))));
        })
    });
    let at = |time: u64| sent.iter().filter(move |(_, at, _)| *at == time).count();
    assert_eq!([at(0), at(1), at(20), at(21)], [10, 10, 1, 1]);
}

/// Old rows of a compacted trace have the time at which it is compacted, and so may the next batch.
#[test]
fn a_row_that_is_corrected_at_the_time_of_compaction_is_counted() {
    let guards = timely::execute(eager_to_merge(), |worker| {
        let (mut input, mut trace) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<Row, isize>();
            (input, rows.arrange_by_key().trace)
        });
        for (epoch, row) in [(1, (7, 50)), (2, (8, 80))] {
            input.insert(row);
            step(worker, &mut input, epoch);
        }
        step(worker, &mut input, 6);
        trace.set_logical_compaction(Antichain::from_elem(6).borrow());
        trace.set_physical_compaction(Antichain::from_elem(6).borrow());
        worker.step();
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        worker.dataflow::<u64, _, _>(|scope| {
            let imported = delayed(trace.import(scope), 100);
            let tens = distinct_count(imported, "Tens", |_, row| Some(row / 10), |_, tens| *tens);
            tens.inspect(move |update| kept.borrow_mut().push(*update));
        });
        input.remove((7, 50));
        input.insert((7, 51));
        step(worker, &mut input, 7);
        input.insert((7, 52));
        (8..=20).for_each(|epoch| step(worker, &mut input, epoch));
        let mut sent = sent.take();
        consolidate_updates(&mut sent);
        sent
    });
    let sent = guards.expect("the worker starts").join().remove(0).expect("the worker does not panic");
    assert_eq!(sent, [(5, 6, 1), (8, 6, 1)]);
}
