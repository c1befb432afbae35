//! Messages with an empty stamp, which timely allows: they make no claim to any time, and are dropped.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::input::Input;
use differential_dataflow::{AsCollection, VecCollection};
use millstream_operators::{
    Position, Sum, Upsert, accumulate_distinct_rows, aggregate, aggregate_total, latest, latest_joined,
    left_join_unique, totals, upserts, with_side_input,
};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

type Rows<'a> = VecCollection<'a, u64, (u8, u8)>;

/// The rows, and before each message one with an empty stamp that has the same rows under key 99.
fn with_empty_stamps(rows: Rows<'_>) -> Rows<'_> {
    let stream = rows.inner.unary(Pipeline, "Empty stamps", |_, _| {
        |input, output| {
            input.for_each(|capability, rows| {
                let stray = rows.iter().map(|((_, value), time, diff)| ((99, *value), *time, *diff));
                output.session(&CapabilitySet::new()).give_iterator(stray);
                output.session(&capability).give_container(rows);
            });
        }
    });
    stream.as_collection()
}

/// What an operator sends for rows that arrive in three epochs, among messages with an empty stamp.
fn run(operator: impl for<'a> Fn(Rows<'a>) -> Rows<'a> + Send + Sync + 'static) -> Vec<((u8, u8), u64, isize)> {
    timely::execute_directly(move |worker| {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection();
            operator(with_empty_stamps(rows)).inspect(move |update| kept.borrow_mut().push(*update));
            input
        });
        for (epoch, value) in [(1, 4), (2, 5), (3, 6)] {
            input.insert((7, value));
            if epoch > 1 {
                input.remove((7, value - 1));
            }
            input.advance_to(epoch);
            input.flush();
            for _ in 0..10 {
                worker.step();
            }
        }
        input.close();
        while worker.step() {}
        let mut sent = sent.take();
        sent.sort();
        sent
    })
}

/// Each value replaces the one before.
const EXPECTED: [((u8, u8), u64, isize); 5] =
    [((7, 4), 0, 1), ((7, 4), 1, -1), ((7, 5), 1, 1), ((7, 5), 2, -1), ((7, 6), 2, 1)];

#[test]
fn latest_drops_them() {
    let sent = run(|rows| {
        let upserts = rows.inner.flat_map(|((key, value), _, diff)| {
            let upsert: Upsert<u8, u8> = (key, Position::after(u64::from(value)), Some(value));
            (diff > 0).then_some(upsert)
        });
        latest(upserts, "Latest")
    });
    assert_eq!(sent, EXPECTED);
}

#[test]
fn upserts_drop_them() {
    assert_eq!(run(|rows| latest(upserts(rows, "Upserts"), "Latest")), EXPECTED);
}

#[test]
fn latest_joined_drops_them_on_both_inputs() {
    let sent = run(|rows| {
        let written = rows.clone().inner.flat_map(|((key, value), _, diff)| {
            let upsert: Upsert<u8, u8> = (key, Position::after(u64::from(value)), Some(value));
            (diff > 0).then_some(upsert)
        });
        latest_joined(
            written,
            rows,
            "Joined",
            |key, _| Some(*key),
            |key, row, partner| (*key, if partner == Some(row) { *row } else { 0 }),
        )
    });
    assert_eq!(differences(sent), EXPECTED);
}

#[test]
fn left_join_unique_drops_them_on_both_inputs() {
    let sent = run(|rows| {
        left_join_unique(rows.clone(), rows, "Joined", |key, row, partner| {
            (*key, if partner == Some(row) { *row } else { 0 })
        })
    });
    assert_eq!(sent, EXPECTED);
}

#[test]
fn sums_drop_them() {
    let value =
        |(key, sum): (u8, Sum)| (key, u8::try_from(sum.total().expect("fits").unwrap_or_default()).expect("small"));
    let term = |row: &(u8, u8)| Some((row.0, Sum::of(row.1)));
    assert_eq!(run(move |rows| aggregate(rows, "Sums", term).map(value)), EXPECTED);
    assert_eq!(run(move |rows| aggregate_total(rows, "Sums", term).map(value)), EXPECTED);
    let sent = run(move |rows| {
        let diffs = rows.inner.map(|((key, value), time, diff)| (key, time, isize::from(value) * diff));
        totals(diffs.as_collection(), "Totals", |key, sum: &isize| (*key, u8::try_from(*sum).expect("small")))
    });
    assert_eq!(sent, EXPECTED);
}

#[test]
fn counts_of_rows_drop_them() {
    let sent = run(|rows| accumulate_distinct_rows(rows, "Rows", 1_isize, |row| Some(*row), |row| *row, |_| None));
    assert_eq!(sent, EXPECTED);
    let sent =
        run(|rows| accumulate_distinct_rows(rows, "Rows", 1_isize, |_| None::<u8>, |_| (0, 0), |row| Some((*row, 1))));
    assert_eq!(sent, EXPECTED);
}

#[test]
fn a_side_input_drops_them() {
    let sent = run(|rows| {
        let row = rows.inner.scope().new_collection_from([(7, ())]).1.arrange_by_key();
        with_side_input(row, rows, "Answers", |rows, record: Option<&(u8, u8)>, answers| {
            answers.extend(rows.iter().map(|(key, ())| (**key, record.map_or(0, |record| record.1))));
        })
    });
    assert_eq!(differences(sent), EXPECTED);
}

/// Without updates that cancel.
fn differences(mut sent: Vec<((u8, u8), u64, isize)>) -> Vec<((u8, u8), u64, isize)> {
    differential_dataflow::consolidation::consolidate_updates(&mut sent);
    sent
}
