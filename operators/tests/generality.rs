//! Operators over arrangements of keys alone, and with diffs of other types than `isize`.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::difference::Semigroup;
use differential_dataflow::input::Input;
use differential_dataflow::{Data, VecCollection};
use millstream_operators::{
    Covariance, Moments, Sum, Variance, accumulate, aggregate, aggregate_total, anti_join, arrange, broadcast_join,
    inner_join, left_join, semi_join, totals,
};

type Rows<'a> = VecCollection<'a, u64, (u8, u8), i32>;

/// What an operator sends for rows with diffs of 32 bits, and other rows.
fn run<D: Data + Send, R: Semigroup + Send + 'static>(
    operator: impl for<'a> Fn(Rows<'a>, Rows<'a>) -> VecCollection<'a, u64, D, R> + Send + Sync + 'static,
) -> Vec<(D, u64, R)> {
    timely::execute_directly(move |worker| {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        let (mut rows, mut others) = worker.dataflow::<u64, _, _>(|scope| {
            let (row_input, rows) = scope.new_collection::<(u8, u8), i32>();
            let (other_input, others) = scope.new_collection::<(u8, u8), i32>();
            operator(rows, others).inspect(move |update| kept.borrow_mut().push(update.clone()));
            (row_input, other_input)
        });
        for row in [(1, 10), (1, 11), (2, 20), (3, 30)] {
            rows.update(row, 2);
        }
        for other in [(1, 5), (3, 6)] {
            others.update(other, 3);
        }
        rows.advance_to(1);
        others.advance_to(1);
        others.update((3, 6), -3);
        rows.close();
        others.close();
        while worker.step() {}
        let mut sent = sent.take();
        consolidate_updates(&mut sent);
        sent
    })
}

#[test]
fn diffs_of_joins_are_multiplied() {
    let inner = run(|rows, others| {
        inner_join(arrange(rows, "Rows"), others.arrange_by_key(), "Inner", |_, row, other| (*row, *other))
    });
    assert_eq!(inner, [((10, 5), 0, 6), ((11, 5), 0, 6), ((30, 6), 0, 6), ((30, 6), 1, -6)]);
    let broadcast =
        run(|rows, others| broadcast_join(rows, others, "Broadcast", |row| row.0, |row, other| (row.1, *other)));
    assert_eq!(broadcast, inner);
    let weighted = run(|rows, others| {
        let sevenfold = others.map(|other| other.0).explode(|key| Some((key, 7_i32)));
        inner_join(rows.arrange_by_key(), sevenfold.arrange_by_self(), "Weighted", |key, row, ()| (*key, *row))
    });
    assert_eq!(weighted, [((1, 10), 0, 42), ((1, 11), 0, 42), ((3, 30), 0, 42), ((3, 30), 1, -42)]);
}

#[test]
fn keys_alone_are_partners_and_rows() {
    let semi = run(|rows, others| {
        let keys = others.map(|other| other.0).arrange_by_self();
        semi_join(rows.arrange_by_key(), keys, "Semi", |_, row| *row).map(|row| (row, 0_u8))
    });
    assert_eq!(semi, [((10, 0), 0, 2), ((11, 0), 0, 2), ((30, 0), 0, 2), ((30, 0), 1, -2)]);
    let rows = run(|rows, others| {
        let keys = rows.map(|row| row.0).arrange_by_self();
        anti_join(keys, others.arrange_by_key(), "Anti", |key, ()| *key)
    });
    assert_eq!(rows, [(2, 0, 2), (3, 1, 2)]);
}

#[test]
fn a_left_join_keeps_the_weight_of_rows_without_a_partner() {
    let joined = run(|rows, others| {
        left_join(rows.arrange_by_key(), others.arrange_by_key(), "Left", |_, row, other| (*row, other.copied()))
    });
    let expected = [
        ((10, Some(5)), 0, 6),
        ((11, Some(5)), 0, 6),
        ((20, None), 0, 2),
        ((30, None), 1, 2),
        ((30, Some(6)), 0, 6),
        ((30, Some(6)), 1, -6),
    ];
    assert_eq!(joined, expected);
}

#[test]
fn sums_are_multiplied_by_any_weight() {
    let sums = run(|rows, _| {
        let arranged = accumulate(rows.clone().arrange_by_key(), "Rows", |key, row| Some((*key, i32::from(*row))));
        let keys = accumulate(rows.map(|row| row.0).arrange_by_self(), "Keys", |key, ()| Some((*key, 1000_i32)));
        totals(arranged.concat(keys), "Totals", |key, sum| (*key, *sum))
    });
    assert_eq!(sums, [((1, 4042), 0, 1), ((2, 2040), 0, 1), ((3, 2060), 0, 1)]);
}

#[test]
fn statistics_are_of_rows_with_any_integer_weight() {
    type Statistics = (Sum, Variance, Moments, Covariance);
    fn term(row: &(u8, u8)) -> Option<(u8, Statistics)> {
        let value = row.1;
        Some((row.0, (Sum::of(value), Variance::of(value), Moments::of(value), Covariance::of(value, value))))
    }
    let twice = |value: u8| {
        let once = term(&(0, value)).expect("every row has a term").1;
        let mut twice = once;
        twice.plus_equals(&once);
        twice
    };
    for is_total in [false, true] {
        let mut sums = run(move |rows, _| {
            let rows = rows.filter(|row| row.0 > 1);
            if is_total { aggregate_total(rows, "Sums", term) } else { aggregate(rows, "Sums", term) }
        });
        sums.sort_unstable();
        assert_eq!(sums, [((2, twice(20)), 0, 1), ((3, twice(30)), 0, 1)]);
    }
}
