//! Rows with a record that changes: the definition, at every epoch.

#[path = "common/drive.rs"]
mod drive;

use drive::{Changes, drive, states};
use millstream_operators::with_side_input;
use proptest::prelude::*;

/// A row, or the record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
enum Input {
    Row(u8, i32),
    Record(i32),
}

/// What is answered for a row: itself, and the record.
type Answer = (u8, i32, Option<i32>);

/// Histories of a few rows, and of a record that is mostly there and sometimes replaced.
fn histories() -> impl Strategy<Value = Changes<Input>> {
    let rows = proptest::collection::vec((0..3_u8, 0..4_i32, prop_oneof![3 => Just(1), 2 => Just(-1)]), 0..8);
    let record =
        prop_oneof![3 => Just(None), 2 => (0..3_i32).prop_map(|record| Some(Some(record))), 1 => Just(Some(None))];
    proptest::collection::vec((rows, record), 1..9).prop_map(|epochs| {
        let (mut held, mut record) = (std::collections::BTreeMap::<_, isize>::new(), None);
        let changes = |(rows, next): (Vec<(u8, i32, isize)>, Option<Option<i32>>)| {
            let mut changes = Vec::new();
            for (key, value, diff) in rows {
                let weight = held.entry((key, value)).or_default();
                if *weight + diff >= 0 {
                    *weight += diff;
                    changes.push((Input::Row(key, value), diff));
                }
            }
            if let Some(next) = next {
                changes.extend(std::mem::replace(&mut record, next).map(|former| (Input::Record(former), -1)));
                changes.extend(next.map(|next| (Input::Record(next), 1)));
            }
            changes
        };
        epochs.into_iter().map(changes).collect()
    })
}

fn updates(history: &Changes<Input>, workers: usize, in_flight: u64) -> Changes<Answer> {
    let outputs = drive(history, workers, in_flight, |inputs| {
        let rows = inputs.clone().flat_map(|input| match input {
            Input::Row(key, value) => Some((key, value)),
            Input::Record(_) => None,
        });
        let records = inputs.flat_map(|input| match input {
            Input::Record(record) => Some(record),
            Input::Row(..) => None,
        });
        vec![with_side_input(rows.arrange_by_key(), records, "Answers", |rows, record, answers| {
            answers.extend(rows.iter().map(|(key, value)| (**key, **value, record.copied())));
        })]
    });
    outputs.into_iter().next().expect("one output")
}

fn check(history: &Changes<Input>, workers: usize, in_flight: u64) -> Result<(), TestCaseError> {
    let answered = states(&updates(history, workers, in_flight));
    for (epoch, held) in states(history).iter().enumerate() {
        let record = held.keys().find_map(|input| match input {
            Input::Record(record) => Some(*record),
            Input::Row(..) => None,
        });
        let rows = held.iter().filter_map(|(input, weight)| match input {
            Input::Row(key, value) => Some(((*key, *value, record), *weight)),
            Input::Record(_) => None,
        });
        prop_assert_eq!(&answered[epoch], &rows.collect(), "after epoch {}", epoch);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_row_has_the_record_of_its_time(history in histories()) {
        check(&history, 1, 1)?;
        check(&history, 1, 3)?;
        check(&history, 2, 1)?;
        check(&history, 4, 2)?;
    }

    #[test]
    fn a_history_played_back_leaves_nothing(history in histories()) {
        let back = history.iter().rev().map(|epoch| epoch.iter().map(|(input, diff)| (input.clone(), -diff)).collect());
        let there_and_back: Changes<Input> = history.iter().cloned().chain(back).collect();
        check(&there_and_back, 2, 1)?;
        prop_assert!(states(&updates(&there_and_back, 2, 1)).last().is_some_and(|held| held.is_empty()));
    }
}

/// A hundred rows, then nothing but single changes.
fn many_rows(changes: Vec<Vec<(Input, isize)>>) -> Changes<Input> {
    let rows = (0..100).map(|value| (Input::Row(0, value), 1)).chain([(Input::Record(7), 1)]);
    [rows.collect()].into_iter().chain(changes).collect()
}

#[test]
fn a_first_epoch_answers_each_row_once() {
    let sent = updates(&many_rows(vec![]), 1, 1);
    assert_eq!(sent[0].len(), 100);
    assert!(sent[0].iter().all(|((_, _, record), diff)| *record == Some(7) && *diff == 1));
}

#[test]
fn a_row_moves_one_answer_and_a_record_all_of_them() {
    let row = vec![(Input::Row(0, 5), -1), (Input::Row(0, 500), 1)];
    let record = vec![(Input::Record(7), -1), (Input::Record(8), 1)];
    let same = vec![(Input::Record(8), -1), (Input::Record(8), 1)];
    let sent = updates(&many_rows(vec![row, record, same]), 1, 1);
    assert_eq!(sent[1..].iter().map(Vec::len).collect::<Vec<_>>(), [2, 200, 0]);
}

#[test]
fn more_rows_than_fit_one_turn_are_all_answered_anew() {
    let many = 100_000;
    let rows = (0..many).map(|value| (Input::Row(0, value), 1)).chain([(Input::Record(7), 1)]);
    let history = vec![rows.collect(), vec![(Input::Record(7), -1), (Input::Record(8), 1)]];
    let answered = states(&updates(&history, 2, 1));
    assert_eq!(answered[1].len(), usize::try_from(many).expect("fits"));
    assert!(answered[1].keys().all(|(_, _, record)| *record == Some(8)));
}

/// What is held after each step, of inputs that go on independently: rows and records, each with the epoch it is then at, or
/// `None` once it is closed.
fn with_two_inputs(steps: Vec<(Vec<(Input, isize)>, Option<u64>, Option<u64>)>) -> Vec<Vec<(Answer, u64, isize)>> {
    use differential_dataflow::input::Input as _;
    use std::cell::RefCell;
    use std::rc::Rc;
    timely::execute_directly(move |worker| {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        let (rows, records) = worker.dataflow::<u64, _, _>(|scope| {
            let (row_input, rows) = scope.new_collection::<(u8, i32), isize>();
            let (record_input, records) = scope.new_collection::<i32, isize>();
            let answers = with_side_input(rows.arrange_by_key(), records, "Answers", |rows, record, answers| {
                answers.extend(rows.iter().map(|(key, value)| (**key, **value, record.copied())));
            });
            answers.inspect(move |update| kept.borrow_mut().push(*update));
            (row_input, record_input)
        });
        let (mut rows, mut records) = (Some(rows), Some(records));
        let mut after = Vec::new();
        for (changes, row_epoch, record_epoch) in steps {
            for (input, diff) in changes {
                match input {
                    Input::Row(key, value) => rows.as_mut().expect("open").update((key, value), diff),
                    Input::Record(record) => records.as_mut().expect("open").update(record, diff),
                }
            }
            rows = row_epoch.and_then(|epoch| rows.take().map(|mut rows| (rows.advance_to(epoch), rows).1));
            records =
                record_epoch.and_then(|epoch| records.take().map(|mut records| (records.advance_to(epoch), records).1));
            rows.iter_mut().for_each(|rows| rows.flush());
            records.iter_mut().for_each(|records| records.flush());
            for _ in 0..20 {
                worker.step();
            }
            after.push(std::mem::take(&mut *sent.borrow_mut()));
        }
        after
    })
}

#[test]
fn rows_may_be_closed_before_the_record_and_the_record_before_rows() {
    let answer = |value, record, epoch, diff| ((0, value, record), epoch, diff);
    // Rows are closed first, and the record goes on changing.
    let sent = with_two_inputs(vec![
        (vec![(Input::Row(0, 1), 1), (Input::Record(7), 1)], None, Some(1)),
        (vec![], None, Some(5)),
        (vec![(Input::Record(7), -1), (Input::Record(8), 1)], None, Some(6)),
        (vec![(Input::Record(8), -1)], None, None),
    ]);
    assert_eq!(sent[0], [answer(1, Some(7), 0, 1)]);
    assert_eq!(sent[1], []);
    assert_eq!(sent[2], [answer(1, Some(7), 5, -1), answer(1, Some(8), 5, 1)]);
    assert_eq!(sent[3], [answer(1, Some(8), 6, -1), answer(1, None, 6, 1)]);
    // The record is closed first, and rows go on.
    let sent = with_two_inputs(vec![
        (vec![(Input::Row(0, 1), 1), (Input::Record(7), 1)], Some(1), None),
        (vec![(Input::Row(0, 2), 1)], Some(2), None),
        (vec![(Input::Row(0, 1), -1)], None, None),
    ]);
    assert_eq!(sent[..2], [vec![answer(1, Some(7), 0, 1)], vec![answer(2, Some(7), 1, 1)]]);
    assert_eq!(sent[2], [answer(1, Some(7), 2, -1)]);
}

#[test]
fn an_input_that_is_behind_holds_answers_back_and_then_each_row_has_the_record_of_its_time() {
    let answer = |value, record, epoch, diff| ((0, value, record), epoch, diff);
    // Rows are three epochs ahead of the record.
    let sent = with_two_inputs(vec![
        (vec![(Input::Row(0, 1), 1)], Some(1), Some(0)),
        (vec![(Input::Row(0, 2), 1)], Some(2), Some(0)),
        (vec![(Input::Record(7), 1)], Some(3), Some(1)),
        (vec![(Input::Record(7), -1), (Input::Record(8), 1)], Some(3), Some(3)),
    ]);
    assert_eq!(sent[..2], [vec![], vec![]], "nobody knows the record yet");
    assert_eq!(sent[2], [answer(1, Some(7), 0, 1)]);
    let mut last = sent[3].clone();
    differential_dataflow::consolidation::consolidate_updates(&mut last);
    let mut wanted = vec![answer(1, Some(7), 1, -1), answer(1, Some(8), 1, 1), answer(2, Some(8), 1, 1)];
    wanted.sort();
    assert_eq!(
        last.iter()
            .map(|((key, value, record), time, diff)| ((*key, *value, *record), *time, *diff))
            .collect::<Vec<_>>(),
        wanted
    );
    // The record is ahead of the rows.
    let sent = with_two_inputs(vec![
        (vec![(Input::Record(7), 1)], Some(0), Some(2)),
        (vec![(Input::Row(0, 1), 1)], Some(1), Some(2)),
        (vec![(Input::Row(0, 2), 1)], Some(4), Some(9)),
    ]);
    assert_eq!(sent, [vec![], vec![answer(1, Some(7), 0, 1)], vec![answer(2, Some(7), 1, 1)]]);
}

#[test]
fn a_record_given_twice_and_retracted_once_is_still_there() {
    let copies = vec![
        vec![(Input::Row(0, 1), 1), (Input::Record(7), 1), (Input::Record(7), 1)],
        vec![(Input::Record(7), -1)],
        vec![(Input::Record(7), -1)],
    ];
    let answer = |record| ((0, 1, record), 1);
    let answered = states(&updates(&copies, 1, 1));
    assert_eq!(answered, [[answer(Some(7))], [answer(Some(7))], [answer(None)]].map(|held| held.into()));
}

#[test]
#[should_panic(
    expected = "with_side_input \"Answers\": found 7 with weight 1 and 8 with weight 1 at time 1, wanted at most one record"
)]
fn a_second_record_is_reported() {
    with_two_inputs(vec![
        (vec![(Input::Row(0, 1), 1), (Input::Record(7), 1)], Some(1), Some(1)),
        (vec![(Input::Record(8), 1)], Some(2), Some(2)),
    ]);
}
