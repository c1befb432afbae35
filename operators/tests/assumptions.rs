//! What operators assume of their input and closures: violations are reported, or do no harm.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::input::Input;
use differential_dataflow::{Data, VecCollection};
use millstream_operators::{complete, distinct_count, with_side_input};

type Rows<'a> = VecCollection<'a, u64, (u8, u8)>;

/// What an operator sends for rows and their weights.
fn run<D: Data + Send>(
    rows: &[((u8, u8), isize)],
    operator: impl for<'a> Fn(Rows<'a>) -> VecCollection<'a, u64, D> + Send + Sync + 'static,
) -> Vec<(D, u64, isize)> {
    let updates = rows.to_vec();
    timely::execute_directly(move |worker| {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection();
            operator(rows).inspect(move |update| kept.borrow_mut().push(update.clone()));
            input
        });
        updates.into_iter().for_each(|(row, weight)| input.update(row, weight));
        input.close();
        while worker.step() {}
        let mut sent = sent.take();
        consolidate_updates(&mut sent);
        sent
    })
}

#[test]
#[should_panic(
    expected = "with_side_input \"Doubled\": found 1 answers for 2 rows, from key Some(7) on, wanted one for each"
)]
fn a_missing_answer_is_reported() {
    run(&[((7, 1), 1), ((7, 2), 1)], |rows| {
        let side = rows.scope().new_collection_from([2_u8]).1;
        with_side_input(rows.arrange_by_key(), side, "Doubled", |rows, factor, answers| {
            answers.extend(rows.iter().take(1).map(|(_, value)| **value * factor.copied().unwrap_or(1)));
        })
    });
}

#[test]
#[should_panic(expected = "\"Parts\": found a part that falls along the values of key 7, wanted parts that never fall")]
fn a_part_that_falls_is_reported() {
    run(&[((7, 1), 1), ((7, 2), 1)], |rows| {
        distinct_count(rows.arrange_by_key(), "Parts", |_, value| Some(10 - *value), |_, part| *part)
    });
}

#[test]
fn a_completed_key_has_one_row_whatever_the_weights() {
    let rows = [((1, 5), 2), ((1, 6), 1), ((2, 5), 1), ((2, 6), -1), ((3, 6), -1), ((4, 0), 3)];
    let completed = run(&rows, |rows| {
        let needed = rows.clone().filter(|row| row.1 == 0).map(|row| row.0);
        let values = rows.filter(|row| row.1 > 0);
        complete(needed, values, "Completed").as_collection(|key, value| (*key, *value))
    });
    assert_eq!(completed, [((1, Some(6)), 0, 1), ((2, Some(5)), 0, 1), ((4, None), 0, 1)]);
}
