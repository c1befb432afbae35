//! How many updates a window sends when one row is inserted, deleted or corrected, and how many rows it evaluates.
//!
//! The partition has forty rows; row number n has the order key 10 n.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use differential_dataflow::input::Input;
use differential_dataflow::{Data, VecCollection};
use millstream_operators::window::{Functions, Window, WindowFunction, window};

/// Order key and number.
type Row = (i32, i32);
type Opened<'a> = Window<'a, u64, (), i32, Row>;

const ROWS: i32 = 40;

/// The updates that changes to a partition of some rows make.
fn moved<D: Data>(
    rows: i32,
    changes: &[(Row, isize)],
    operator: impl for<'a> Fn(Opened<'a>) -> VecCollection<'a, u64, D> + Send + Sync + 'static,
) -> usize {
    let (moved, changes) = (Arc::new(Mutex::new(0)), changes.to_vec());
    let count = Arc::clone(&moved);
    timely::execute_directly(move |worker| {
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<Row, isize>();
            operator(window(rows, "Window", |_| (), |row| row.0)).inspect(move |(_, epoch, _)| {
                *count.lock().expect("no panic") += usize::from(*epoch == 1);
            });
            input
        });
        (1..=rows).for_each(|number| input.insert((10 * number, number)));
        input.advance_to(1);
        changes.into_iter().for_each(|(row, diff)| input.update(row, diff));
    });
    *moved.lock().expect("no panic")
}

fn selected<F: WindowFunction<i32, Row>>(
    changes: &[(Row, isize)],
    function: impl Fn(Functions<i32, Row>) -> F + Send + Sync + Copy + 'static,
) -> usize {
    let [ranges, recompute] = [
        moved(ROWS, changes, move |window| window.select(function)),
        moved(ROWS, changes, move |window| window.recomputed().select(function)),
    ];
    assert_eq!(ranges, recompute, "both drivers send what differs and no more");
    ranges
}

fn number(row: &Row) -> i32 {
    row.1
}

/// A row between number 20 and number 21.
const BETWEEN: &[(Row, isize)] = &[((205, 99), 1)];
/// A row with the order key of number 20, behind it.
const TIED: &[(Row, isize)] = &[((200, 99), 1)];
const FIRST: &[(Row, isize)] = &[((0, 99), 1)];
const LAST: &[(Row, isize)] = &[((1000, 99), 1)];
/// A row that moves three places ahead.
const CORRECTED: &[(Row, isize)] = &[((200, 20), -1), ((235, 20), 1)];

#[test]
fn numbers_move_for_every_row_behind() {
    assert_eq!(selected(BETWEEN, |w| w.row_number()), 2 * 20 + 1);
    assert_eq!(selected(BETWEEN, |w| w.rank()), 2 * 20 + 1);
    assert_eq!(selected(BETWEEN, |w| w.sum(number).rows(..=0)), 2 * 20 + 1);
    assert_eq!(selected(LAST, |w| w.row_number()), 1);
    assert_eq!(selected(FIRST, |w| w.row_number()), 2 * 40 + 1);
}

#[test]
fn a_corrected_row_moves_the_numbers_it_passes() {
    assert_eq!(selected(CORRECTED, |w| w.row_number()), 2 + 2 * 3);
    assert_eq!(selected(CORRECTED, |w| w.rank()), 2 + 2 * 3);
    assert_eq!(selected(CORRECTED, |w| w.sum(number).rows(..=0)), 2 + 2 * 3);
}

#[test]
fn a_new_peer_changes_no_other_dense_rank() {
    assert_eq!(selected(TIED, |w| w.dense_rank()), 1);
    assert_eq!(selected(TIED, |w| w.rank()), 2 * 20 + 1);
    assert_eq!(selected(BETWEEN, |w| w.dense_rank()), 2 * 20 + 1);
}

#[test]
fn offsets_move_as_many_rows_as_they_reach() {
    for (k, expected) in [(1, 3), (2, 5), (7, 15)] {
        assert_eq!(selected(BETWEEN, move |w| w.lag(k, number)), expected);
        assert_eq!(selected(BETWEEN, move |w| w.lead(k, number)), expected);
    }
}

#[test]
fn only_the_last_of_peers_is_their_last_value() {
    assert_eq!(selected(TIED, |w| w.last_value(number)), 2 + 1);
    assert_eq!(selected(BETWEEN, |w| w.last_value(number)), 1);
    assert_eq!(selected(BETWEEN, |w| w.first_value(number)), 1);
    assert_eq!(selected(FIRST, |w| w.first_value(number)), 2 * 40 + 1);
}

#[test]
fn shares_move_for_every_row() {
    assert_eq!(selected(LAST, |w| w.cume_dist()), 2 * 40 + 1);
    assert_eq!(selected(LAST, |w| w.percent_rank()), 2 * 40 + 1);
}

#[test]
fn at_most_one_row_crosses_each_boundary_between_tiles() {
    // Tiles of 10 become 11, 10, 10, 10: one row goes from the second to the first, and the new one takes its place.
    assert_eq!(selected(BETWEEN, |w| w.ntile(4)), 2 + 1);
    for changes in [BETWEEN, TIED, FIRST, LAST] {
        for tiles in [1, 2, 7, 39, 40] {
            assert!(selected(changes, move |w| w.ntile(tiles)) as u64 <= 2 * (tiles - 1) + 1);
        }
    }
}

#[test]
fn moving_frames_move_as_many_rows_as_they_have() {
    assert_eq!(selected(BETWEEN, |w| w.sum(number).rows(-3..=2)), 2 * 5 + 1);
    // The greatest of a rising row of numbers is the last: another that is greater is so for all behind it.
    assert_eq!(selected(BETWEEN, |w| w.max(number).rows(..=0)), 2 * 20 + 1);
    assert_eq!(selected(&[((205, 0), 1)], |w| w.max(number).rows(..=0)), 1);
}

#[test]
fn a_scalar_of_the_partition_moves_alone() {
    let per_partition = |changes| {
        moved(ROWS, changes, |window| window.per_partition(|w| (w.first_value(number), w.sum(|row| row.1 % 10))))
    };
    assert_eq!(per_partition(FIRST), 2);
    assert_eq!(per_partition(&[((205, 100), 1)]), 0);
    assert_eq!(moved(ROWS, BETWEEN, |window| window.per_partition(|w| w.median())), 2);
}

#[test]
fn the_first_rows_let_one_in_and_one_out() {
    assert_eq!(moved(ROWS, FIRST, |window| window.first(10)), 2);
    assert_eq!(moved(ROWS, FIRST, |window| window.first_numbered(10)), 2 * 10);
    assert_eq!(moved(ROWS, BETWEEN, |window| window.first(10)), 0);
    assert_eq!(moved(ROWS, BETWEEN, |window| window.first_numbered(10)), 0);
}

/// How many values functions look at for some changes, in a partition of so many rows.
fn looked_at<F: WindowFunction<i32, Row>>(
    rows: i32,
    changes: &[(Row, isize)],
    functions: impl Fn(Functions<i32, Row>, Arc<AtomicUsize>) -> F + Send + Sync + Copy + 'static,
) -> usize {
    let looks = Arc::new(AtomicUsize::new(0));
    let count = |changes: &[(Row, isize)]| {
        let looks = Arc::clone(&looks);
        looks.store(0, Ordering::Relaxed);
        let counter = Arc::clone(&looks);
        moved(rows, changes, move |window| window.select(|w| functions(w, Arc::clone(&counter))));
        looks.load(Ordering::Relaxed)
    };
    count(changes) - count(&[])
}

fn counting(looks: Arc<AtomicUsize>) -> impl Fn(&Row) -> i32 + 'static {
    move |row| {
        looks.fetch_add(1, Ordering::Relaxed);
        row.1
    }
}

#[test]
fn the_work_for_a_change_does_not_grow_with_the_partition() {
    let middle = |rows: i32| [((5 * rows + 5, 0), 1)];
    assert_eq!(looked_at(10_000, &middle(10_000), |w, looks| w.lag(1, counting(looks))), 2 + 1);
    assert_eq!(looked_at(10_000, &middle(10_000), |w, looks| w.lead(2, counting(looks))), 2 * 2 + 1);
    // A leaf is summed up again, and a few more at the ends of each frame.
    let [small, large] =
        [1_000, 30_000].map(|size| looked_at(size, &middle(size), |w, looks| w.sum(counting(looks)).rows(-3..=0)));
    assert!(small < 400 && large < 400, "{small} of a thousand, {large} of thirty thousand");
}

/// The sums up to each row never agree again; that must not keep the others going.
#[test]
fn a_moving_sum_does_not_make_its_neighbours_run_on() {
    let corrected = [((50_000, 5_000), -1), ((50_000, -7), 1)];
    let looks = looked_at(10_000, &corrected, |w, looks| {
        (w.row_number(), w.lag(1, counting(looks)), w.sum(number).rows(-1..=0))
    });
    assert!(looks < 10, "{looks}");
}
