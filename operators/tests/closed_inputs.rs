//! Operators drop the rows they keep once their inputs are closed, even if the last epoch was complete before.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::input::InputSession;
use millstream_operators::{
    Position, Upsert, accumulate_distinct_rows, latest, latest_joined, left_join_unique, newest,
};
use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::{Input, Map};
use timely::worker::Worker;

type Row = Arc<u32>;
type Rows<'scope> = StreamVec<'scope, u64, Upsert<u32, Row>>;
type Partners<'scope> = VecCollection<'scope, u64, (u32, Row)>;

/// The references to a row and a partner while the inputs are open, and when they are closed.
fn kept(build: impl Fn(Rows<'_>, Partners<'_>) + Send + Sync + 'static) -> [[usize; 2]; 2] {
    timely::execute_directly(move |worker| {
        let (row, partner) = (Arc::new(1), Arc::new(2));
        let (mut rows, mut partners, mut other) = worker.dataflow(|scope| {
            let mut partners = InputSession::new();
            let (rows, upserts) = scope.new_input();
            build(upserts, partners.to_collection(scope));
            // Keeps the dataflow running.
            (rows, partners, scope.new_input::<Vec<u32>>().0)
        });
        let work = |worker: &mut Worker| (0..20).for_each(|_| _ = worker.step());
        let counts = || [&row, &partner].map(|row| Arc::strong_count(row) - 1);
        rows.send((7, Position::after(0), Some(Arc::clone(&row))));
        partners.insert((7, Arc::clone(&partner)));
        rows.advance_to(1);
        partners.advance_to(1);
        partners.flush();
        work(worker);
        let open = counts();
        drop((rows, partners));
        work(worker);
        other.advance_to(1);
        [open, counts()]
    })
}

#[test]
fn latest_keeps_nothing_of_a_closed_input() {
    // The partner waits in the input, which nobody reads.
    let build = |rows: Rows<'_>, _: Partners<'_>| drop(latest(rows, "Rows"));
    assert_eq!(kept(build).map(|[rows, _]| rows), [1, 0]);
}

#[test]
fn newest_keeps_nothing_of_a_closed_input() {
    // Its state are versions, here the rows themselves.
    let build = |rows: Rows<'_>, _: Partners<'_>| {
        let versioned = rows.flat_map(|(key, position, row)| row.map(|row| (row, (key, position, None::<Row>))));
        drop(newest(versioned, "Newest"));
    };
    assert_eq!(kept(build).map(|[rows, _]| rows), [1, 0]);
}

#[test]
fn latest_joined_keeps_nothing_of_closed_inputs() {
    let build = |rows: Rows<'_>, partners: Partners<'_>| {
        latest_joined(rows, partners, "Rows", |_, row| Some(**row + 6), |key, _, _| *key);
    };
    // What joined records have of a partner is kept apart from the partner.
    assert_eq!(kept(build), [[1, 2], [0, 0]]);
}

#[test]
fn accumulate_distinct_rows_keeps_nothing_of_a_closed_input() {
    let build = |rows: Rows<'_>, _: Partners<'_>| {
        let rows = latest(rows, "Rows");
        drop(accumulate_distinct_rows(rows, "Keys", 1_isize, |(_, row)| Some(Arc::clone(row)), |_| 0, |_| None));
    };
    assert_eq!(kept(build).map(|[rows, _]| rows), [2, 0]);
}

#[test]
fn left_join_unique_keeps_nothing_of_closed_inputs() {
    let build = |rows: Rows<'_>, partners: Partners<'_>| {
        left_join_unique(latest(rows, "Rows"), partners, "Joined", |key, _, _| *key);
    };
    assert_eq!(kept(build), [[2, 1], [0, 0]]);
}
