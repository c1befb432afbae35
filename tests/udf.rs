//! User functions: nulls, failures, panics, exact retractions, and the result cache.

#[path = "../operators/tests/common/drive.rs"]
mod drive;
#[path = "../operators/tests/common/lattice.rs"]
mod lattice;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::compute::kernels::numeric::{div, mul};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use drive::{Changes, drive, states};
use millstream::error::{Error, Result};
use millstream::model::{Amount, Day, Discount, Price, PriceCategories, Text, TextMap};
use millstream::udf::{
    ColumnFunction, FunctionOutput, Registry, Udf, Value, check_purity, clean_text, parse_json_metadata, weekday,
};
use proptest::prelude::*;

/// Ten over a number: an error for 0, a panic for 13.
fn ten_over() -> Udf<i64, i64> {
    Udf::scalar("ten_over", |number: i64| match number {
        0 => Err("division by zero"),
        13 => panic!("thirteen"),
        number => Ok(10 / number),
    })
}

/// The vectorised equivalent.
fn ten_over_columns() -> Udf<i64, i64> {
    Udf::vectorised("ten_over", |columns| {
        assert!(!columns[0].as_primitive::<Int64Type>().iter().any(|number| number == Some(13)), "thirteen");
        div(&Int64Array::new_scalar(10), &columns[0])
    })
}

/// The expected result of a row: the number and ten over it, or the reason for the failure.
type Given = (i64, Result<Option<i64>, String>);

fn given(function: &Udf<i64, i64>, history: &Changes<i64>, workers: usize) -> Changes<Given> {
    let function = function.clone();
    let outputs = drive(history, workers, 1, move |numbers| {
        let (answers, rejected) = function.apply(numbers, |number| Some(*number), |number, ten| (number, Ok(ten)));
        let reason = |reason: &str| if reason.contains("thirteen") { "thirteen" } else { "by zero" }.to_owned();
        vec![answers.concat(rejected.map(move |row| (row.row, Err(reason(&row.reason)))))]
    });
    outputs.into_iter().next().expect("one output")
}

fn by_definition(number: i64, gives_null: bool) -> Given {
    let answer = match number {
        13 => Err("thirteen".into()),
        0 if gives_null => Ok(None),
        0 => Err("by zero".into()),
        number => Ok(Some(10 / number)),
    };
    (number, answer)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_function_works_under_times_that_are_not_totally_ordered(history in lattice::histories()) {
        lattice::check(
            &history,
            |rows| {
                let half = Udf::scalar("half", |value: i64| if value % 2 == 0 { Ok(value / 2) } else { Err("odd") });
                let (even, odd) = half.apply(rows, |row| Some(row.1.into()), |row, half| (row, half));
                even.concat(odd.map(|odd| (odd.row, None)))
            },
            |by_key| {
                let rows = by_key.iter().flat_map(|(key, values)| values.iter().map(|value| (*key, *value)));
                rows.map(|row| (row, (row.1 % 2 == 0).then_some(i64::from(row.1) / 2))).collect()
            },
        )?;
    }

    #[test]
    fn what_is_given_or_rejected_comes_and_goes_with_its_row(
        numbers in proptest::collection::vec(proptest::collection::vec(prop_oneof![-3..4_i64, Just(13)], 0..40), 1..4),
    ) {
        let once = |epoch: &Vec<i64>| epoch.iter().map(|number| (*number, 1)).collect();
        let there: Changes<i64> = numbers.iter().map(once).collect();
        let back = there.iter().rev().map(|epoch| epoch.iter().map(|(number, _)| (*number, -1)).collect());
        let history: Changes<i64> = there.iter().cloned().chain(back).collect();
        let (plain, columns) = (ten_over, ten_over_columns);
        let functions = [plain(), columns(), plain().memoised(1 << 12), columns().memoised(1 << 12)];
        for function in functions {
            for (function, gives_null) in [(function.clone(), false), (function.or_null(), true)] {
                let held = states(&given(&function, &history, 2));
                for (epoch, numbers) in states(&history).into_iter().enumerate() {
                    let defined = |(number, weight)| (by_definition(number, gives_null), weight);
                    let wanted = numbers.into_iter().map(defined);
                    prop_assert_eq!(&held[epoch], &wanted.collect());
                }
            }
        }
    }
}

#[test]
fn a_null_is_given_for_a_null_unless_the_function_wants_to_see_it() {
    let strict = Udf::scalar("strict", |(a, b): (i64, i64)| a + b);
    assert_eq!(strict.call((Some(1), None)), Ok(None));
    let curious = Udf::scalar("curious", |(a, b): (i64, Option<i64>)| a + b.unwrap_or(100));
    assert_eq!([curious.call((Some(1), None)), curious.call((None, Some(1)))], [Ok(Some(101)), Ok(None)]);
    let maybe = Udf::scalar("maybe", |a: i64| (a > 0).then_some(a));
    assert_eq!(maybe.call(Some(-1)), Ok(None));
}

#[test]
fn a_panic_is_told_with_its_place_and_the_next_row_is_handled() {
    let failure = ten_over().call(Some(13)).expect_err("it panics");
    assert!(failure.panicked && failure.reason.contains("tests/udf.rs") && failure.reason.ends_with("thirteen"));
    assert_eq!(ten_over().call(Some(5)), Ok(Some(2)));
    // Others' panics are as they were.
    assert!(std::panic::catch_unwind(|| panic!("not in a function")).is_err());
}

#[test]
fn a_column_function_that_fails_is_asked_again_until_the_rows_that_fail_stand_alone() {
    let numbers: ArrayRef =
        Arc::new(Int64Array::from_iter((0..1000).map(|n| if n == 700 { Some(0) } else { Some(n % 12 + 1) })));
    let called = ten_over_columns().call_columns(&[numbers]).expect("the column is taken");
    assert_eq!(called.failures.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [700]);
    assert!(called.column.is_null(700));
    assert_eq!(called.column.as_primitive::<Int64Type>().value(999), 10 / (999 % 12 + 1));
}

#[test]
fn a_column_function_that_does_not_keep_its_rows_is_told_so() {
    let mean = Udf::<f64, f64>::vectorised("mean", |_| Ok(Arc::new(Float64Array::from(vec![1.0]))));
    let rows = [f64::column([Some(1.0), Some(3.0)].into_iter())];
    let bug = mean.call_columns(&rows).expect_err("it is no function of rows").to_string();
    assert!(bug.contains("function mean: returned 1 rows for 2, so it is not row-wise"), "{bug}");
    assert!(check_purity(&mean, &rows).is_err());
    let wrong =
        Udf::<f64, f64>::vectorised("wrong", |columns| Ok(Arc::new(Int64Array::from(vec![1; columns[0].len()]))));
    let failure = wrong.call(Some(1.0)).expect_err("it gives another type");
    assert_eq!(failure.reason, "returned a column of type Int64, wanted Float64");
    assert!(wrong.call_columns(&rows).is_err() && failure.panicked);
}

#[test]
fn a_memoised_function_is_called_once_for_each_argument_while_there_is_room() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = |bytes_max| {
        let calls = Arc::clone(&calls);
        Udf::scalar("counted", move |number: i64| {
            calls.fetch_add(1, Ordering::Relaxed);
            number * 2
        })
        .memoised(bytes_max)
    };
    let ask = |function: &Udf<i64, i64>, numbers: u64| {
        calls.store(0, Ordering::Relaxed);
        let history = vec![(0..4000).map(|n| (n % numbers.cast_signed(), 1)).collect()];
        let sum: i64 = given(function, &history, 2)[0]
            .iter()
            .map(|((_, ten), _)| ten.clone().unwrap_or_default().unwrap_or(0))
            .sum();
        assert_eq!(sum, (0..4000).map(|n| n % numbers.cast_signed() * 2).sum::<i64>());
        calls.load(Ordering::Relaxed)
    };
    // Two workers may ask for one at the same time.
    assert!((10..=20).contains(&ask(&counted(1 << 20), 10)));
    let roomy = counted(1 << 20);
    assert!(ask(&roomy, 1000) <= 2000 && ask(&roomy, 1000) == 0);
    let narrow = counted(1 << 12);
    calls.store(0, Ordering::Relaxed);
    for number in (0..4).flat_map(|_| 0..1000) {
        assert_eq!(narrow.call(Some(number)), Ok(Some(number * 2)));
    }
    assert!(calls.load(Ordering::Relaxed) > 3500, "there is room for a few dozen of a thousand");
}

/// Columns of several types, with nulls.
fn columns() -> [ArrayRef; 4] {
    let texts = [Some("  Two  words "), None, Some(""), Some("ÄRGER"), Some(r#"{"a": "b"}"#), Some("{"), Some("a   b")];
    let prices = [Some(1.5), None, Some(99.9999), Some(100.0), Some(-3.0), Some(1e9), Some(500.0)];
    let discounts = [Some(0.1), Some(0.2), None, Some(0.0), Some(1.0), Some(0.333_33), Some(-1.0)];
    let days = (0..7).map(|day| if day == 3 { None } else { Day::new(day * 1000) });
    [
        Arc::new(StringArray::from(texts.to_vec())),
        Arc::new(Float64Array::from(prices.to_vec())),
        Arc::new(Float64Array::from(discounts.to_vec())),
        Day::column(days),
    ]
}

#[test]
fn what_is_built_in_is_pure() {
    let [texts, prices, discounts, days] = columns();
    let registry = Registry::built_in(&PriceCategories::default());
    let uses: [(&str, Vec<ArrayRef>); 5] = [
        ("clean_text", vec![Arc::clone(&texts)]),
        ("parse_json_metadata", vec![texts]),
        ("calculate_discount", vec![Arc::clone(&prices), discounts]),
        ("categorize_price", vec![prices]),
        ("weekday", vec![days]),
    ];
    assert_eq!(registry.names().count(), uses.len());
    for (name, columns) in uses {
        let function = registry.get(name).expect("it is built in");
        check_purity(function.as_ref(), &columns).expect("the columns are taken").expect("it is pure");
    }
}

#[test]
fn what_depends_on_the_rows_beside_it_is_found_out() {
    let rows = [f64::column((1..9).map(|n| Some(f64::from(n))))];
    let share = Udf::<f64, f64>::vectorised("share", |columns| {
        let sum = arrow::compute::sum(columns[0].as_primitive::<arrow::datatypes::Float64Type>()).unwrap_or(1.0);
        mul(&columns[0], &Float64Array::new_scalar(1.0 / sum))
    });
    let found = check_purity(&share, &rows).expect("the column is taken").expect_err("it is not row-wise");
    assert_eq!((found.function.as_str(), found.arguments.as_str()), ("share", "(1.0)"));
    assert_eq!(found.when, "when the row was alone");
    let last = Arc::new(AtomicU64::new(0));
    let change = Udf::scalar("change", move |number: f64| {
        number - f64::from_bits(last.swap(number.to_bits(), Ordering::Relaxed))
    });
    let found = check_purity(&change.memoised(1 << 20), &rows).expect("the column is taken");
    assert!(found.expect_err("it remembers").to_string().contains("function change is not pure"));
}

#[test]
fn the_built_in_functions_are_what_they_are_said_to_be() {
    let clean = |text: &str| clean_text().call(Some(text.into())).expect("it can't fail");
    assert_eq!(clean("\tTwo  Words\n"), Some("two words".into()));
    assert_eq!(clean("a   b"), Some("a  b".into()), "two spaces in three are one, and one is left");
    assert_eq!(clean(""), Some("".into()));
    let parse = |text: &str| parse_json_metadata().call(Some(text.into())).expect("it can't fail").expect("never null");
    assert_eq!(parse_json_metadata().call(None), Ok(Some(TextMap::default())));
    for broken in
        ["", "null", "3", "[]", "{", r#"{"a": }"#, r#"{"a": 1} x"#, &"[".repeat(1000), "{'a': 1}", r#"{1: 2}"#]
    {
        assert_eq!(parse(broken), TextMap::default(), "{broken}");
    }
    let map = parse(r#"{"k": "v", "k": "w", "n": 1e400, "b": true, "o": {"x": [1, 2]}, "u": "\u00e4\n", "z": null}"#).0;
    let text = |key: &str| map[key].as_deref();
    assert_eq!([text("k"), text("n"), text("b")], [Some("w"), Some("1e400"), Some("true")]);
    assert_eq!([text("o"), text("u"), text("z")], [Some(r#"{"x": [1, 2]}"#), Some("ä\n"), None]);
    assert_eq!(weekday().call(Day::from_ymd(1969, 12, 28)), Ok(Some(7)));
}

#[test]
fn money_is_exact_in_functions_too() {
    let final_price =
        Registry::built_in(&PriceCategories::default()).get("calculate_discount").cloned().expect("built in");
    let column = |values: [f64; 2]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
    let called = final_price.call_columns(&[column([0.1, 1e15]), column([0.3, 0.0])]).expect("the columns are taken");
    assert_eq!(
        called.column.slice(0, 1).to_data(),
        Amount::column([Some(Amount::from_e8(7_000_000))].into_iter()).to_data()
    );
    assert_eq!(called.failures[0].0, 1);
    assert_eq!(called.failures[0].1.reason, "the argument 1000000000000000.0 is out of range: wanted below 10^10");
    let discount = Udf::scalar("double", |(price, discount): (Price, Discount)| Amount::of(2, price, discount));
    assert_eq!(discount.call((Price::from_e4(1), Discount::from_e4(1))), Ok(Some(Amount::from_e8(2 * 9999))));
}

#[test]
fn a_name_is_registered_once() {
    let mut registry = Registry::built_in(&PriceCategories::default());
    let shout = || Udf::scalar("shout", |text: Text| text.to_uppercase());
    registry.register(shout()).expect("the name is free");
    assert!(registry.register(shout()).expect_err("it is taken").to_string().contains("shout is registered already"));
    assert!(registry.register(clean_text()).is_err());
}

/// The number of bytes of a text, as an own implementation of `ColumnFunction`.
struct ByteLength;

impl ColumnFunction for ByteLength {
    fn name(&self) -> &str {
        "byte_length"
    }

    fn data_types(&self) -> Vec<DataType> {
        vec![DataType::Utf8]
    }

    fn accepts(&self, found: &[DataType]) -> Vec<bool> {
        found.iter().map(|found| *found == DataType::Utf8).collect()
    }

    fn returns(&self) -> DataType {
        DataType::Int32
    }

    fn call_columns(&self, columns: &[ArrayRef]) -> Result<FunctionOutput> {
        let column = length(&columns[0]).map_err(Error::failed)?;
        Ok(FunctionOutput { column, failures: Vec::new() })
    }

    fn gives_null(&self) -> bool {
        false
    }

    fn with_memory(&self, _: Option<usize>) -> Arc<dyn ColumnFunction> {
        Arc::new(ByteLength)
    }
}

#[test]
fn an_own_column_function_can_be_registered() {
    let mut registry = Registry::built_in(&PriceCategories::default());
    registry.register(ByteLength).expect("the name is free");
    assert!(registry.register(ByteLength).is_err());
    let function = registry.get("byte_length").expect("it is registered");
    let texts = [Text::column([Some("tea".into()), None].into_iter())];
    let output = function.call_columns(&texts).expect("it is called");
    assert_eq!(output.column.as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(3), None]);
    check_purity(function.as_ref(), &texts).expect("it can be called").expect("it is pure");
}

#[test]
fn dictionaries_and_views_are_read_as_what_they_hold() {
    let [texts, prices, discounts, days] = columns();
    let encoded = |column: &ArrayRef| {
        let keys = Box::new(DataType::Int32);
        cast(column, &DataType::Dictionary(keys, Box::new(column.data_type().clone()))).expect("it can be encoded")
    };
    let registry = Registry::built_in(&PriceCategories::default());
    let given = |name: &str, columns: &[ArrayRef]| {
        let called = registry.get(name).expect("it is built in").call_columns(columns).expect("the columns are taken");
        assert!(called.failures.is_empty(), "{name}: {:?}", called.failures);
        called.column.to_data()
    };
    let viewed = cast(&texts, &DataType::Utf8View).expect("it can be viewed");
    assert_eq!(given("clean_text", &[encoded(&texts)]), given("clean_text", &[Arc::clone(&texts)]));
    assert_eq!(given("clean_text", &[viewed]), given("clean_text", &[texts]));
    assert_eq!(given("weekday", &[encoded(&days)]), given("weekday", &[days]));
    let money = [encoded(&prices), encoded(&discounts)];
    assert_eq!(given("calculate_discount", &money), given("calculate_discount", &[prices, discounts]));
}
