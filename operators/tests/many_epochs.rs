//! A batch that spans many epochs, as when a job catches up: its cost is counted in calls, never in time.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::rc::Rc;

use differential_dataflow::VecCollection;
use differential_dataflow::input::Input;
use millstream_operators::{ByKey, distinct_count, reduce_sorted, reduce_summed};

/// One update of the one key in each.
const EPOCHS: u64 = 2_000;

/// A number that counts how often two of it are compared.
#[derive(Clone, Copy, Debug, Eq, serde::Serialize, serde::Deserialize)]
struct Counted(u64);

thread_local! {
    static COMPARED: Cell<u64> = const { Cell::new(0) };
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARED.set(COMPARED.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What an operator sends for a history of one key: a number in each epoch, and its diff. All epochs are one batch.
fn catch_up<D: differential_dataflow::Data + Send>(
    history: impl Fn(u64) -> (u64, isize) + Send + Sync + 'static,
    operator: impl for<'a> Fn(ByKey<'a, u64, u8, Counted>) -> VecCollection<'a, u64, D> + Send + Sync + 'static,
) -> Vec<(D, u64, isize)> {
    timely::execute_directly(move |worker| {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<(u8, Counted), isize>();
            operator(rows.arrange_by_key()).inspect(move |update| kept.borrow_mut().push(update.clone()));
            input
        });
        for epoch in 0..EPOCHS {
            let (number, diff) = history(epoch);
            input.advance_to(epoch);
            input.update((7, Counted(number)), diff);
        }
        input.close();
        while worker.step() {}
        sent.take()
    })
}

thread_local! {
    static CALLED: Cell<u64> = const { Cell::new(0) };
}

fn call() {
    CALLED.set(CALLED.get() + 1);
}

/// `execute_directly` runs its worker in this thread, so that the counts can be read here.
fn counts() -> (u64, u64) {
    (CALLED.take(), COMPARED.take())
}

#[test]
fn a_term_is_computed_once_for_each_update() {
    let sent = catch_up(
        |epoch| (epoch, 1),
        |rows| {
            reduce_summed(
                rows,
                "Sums",
                |_, _| {
                    call();
                    1_isize
                },
                |_, _, sum, sums| sums.push(*sum),
            )
        },
    );
    let (terms, _) = counts();
    assert_eq!(terms, EPOCHS);
    let last = isize::try_from(EPOCHS).expect("small");
    assert_eq!(sent.len() as u64, 2 * EPOCHS - 1);
    assert!(sent.contains(&(last, EPOCHS - 1, 1)), "the last sum is that of all");
}

/// Values rise, so that all later ones lie before the greatest as of each epoch; and then they are retracted.
#[test]
fn the_greatest_value_is_found_without_passing_later_ones() {
    let half = EPOCHS / 2;
    let sent = catch_up(
        move |epoch| if epoch < half { (epoch, 1) } else { (epoch - half, -1) },
        |rows| {
            reduce_sorted(rows, "Greatest", |_, values, greatest| {
                greatest.extend(values.descending().map(|(value, _)| value.0).next());
            })
        },
    );
    let (_, compared) = counts();
    let most = 100 * EPOCHS;
    assert!(compared < most, "found {compared} comparisons, wanted fewer than {most}");
    let expected = (0..half).flat_map(|epoch| {
        let before = epoch.checked_sub(1).map(|before| ((7, before), epoch, -1));
        before.into_iter().chain([((7, epoch), epoch, 1)])
    });
    let mut expected: Vec<_> = expected.chain([((7, half - 1), EPOCHS - 1, -1)]).collect();
    expected.sort();
    let mut sent = sent;
    sent.sort();
    assert_eq!(sent, expected);
}

/// Ten values a part; in the second half, they are retracted.
#[test]
fn a_part_is_looked_at_only_when_it_has_an_update() {
    let half = EPOCHS / 2;
    let sent = catch_up(
        move |epoch| if epoch < half { (epoch, 1) } else { (epoch - half, -1) },
        |rows| {
            let part = |_: &u8, value: &Counted| {
                call();
                Some(value.0 / 10)
            };
            distinct_count(rows, "Parts", part, |_, part| *part)
        },
    );
    let (parts, _) = counts();
    let most = 100 * EPOCHS;
    assert!(parts < most, "found {parts} calls, wanted fewer than {most}");
    let expected = (0..half / 10).flat_map(|part| [(part, 10 * part, 1), (part, half + 10 * part + 9, -1)]);
    let mut sent = sent;
    sent.sort();
    assert_eq!(sent, expected.collect::<Vec<_>>());
}
