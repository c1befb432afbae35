//! The number of updates per change: only affected rows are updated.
//!
//! The shop: customer 1 has orders 10 to 19, two on each of five days, each of a product of its own; customer 2 has
//! order 20, of the first product, on the first day.

mod common;

use std::sync::Arc;

use common::history::{History, Write};
use common::record::run;
use millstream::model::{Customer, Day, Discount, Order, Payload, Price, Product};
use millstream::pipeline::Settings;

const DAYS: i32 = 5;

fn order(id: i64, customer: i64, product: i64, day: i32, quantity: i32) -> Write<i64> {
    let order = Order {
        customer: Some(customer),
        product: Some(product),
        day: Day::new(day),
        quantity,
        discount: Discount::default(),
        extra: Payload::default(),
    };
    Write::Order(id, Some(order))
}

fn product(id: i64, price_e4: i128) -> Write<i64> {
    let price = Price::from_e4(price_e4).expect("in range");
    let product = Product {
        name: None,
        category: "Things".into(),
        price,
        brand: None,
        metadata: None,
        extra: Payload::default(),
    };
    Write::Product(id, Some(Arc::new(product)))
}

fn nth(n: i64) -> Write<i64> {
    order(10 + n, 1, n, i32::try_from(n / 2).expect("small"), 1)
}

fn shop() -> Vec<Write<i64>> {
    let products = (0..10).map(|id| product(id, 10_0000));
    products.chain((0..10).map(nth)).chain([order(20, 2, 0, 0, 1)]).collect()
}

/// The number of rows of each standard table that a change updates: enriched, daily, products, patterns, rfm, cohorts,
/// matrix.
fn moved(change: Write<i64>) -> [usize; 7] {
    let moved = moved_in_all(change);
    std::array::from_fn(|table| moved[table])
}

/// The number of rows of each optional table that a change updates: ranking, statistics, features, anomalies.
fn moved_further(change: Write<i64>) -> [usize; 4] {
    let moved = moved_in_all(change);
    std::array::from_fn(|table| moved[7 + table])
}

fn moved_in_all(change: Write<i64>) -> [usize; 12] {
    let history: History<i64> = vec![shop(), vec![change]];
    let settings = Settings::as_of(Day::new(100).expect("in range"));
    let [one, two] = [1, 2].map(|workers| run(&history, &settings, workers, 1));
    let moved = one.moved(1);
    assert_eq!(moved, two.moved(1), "as much moves on two workers as on one");
    // Where both sides of a join changed, it may send a pair or two that cancel; never a table that did not change.
    let sent = one.sent(1);
    assert!(moved.iter().zip(sent).all(|(moved, sent)| sent <= moved + 4), "{moved:?} moved, {sent:?} sent");
    moved
}

#[test]
fn a_corrected_quantity_moves_its_row_and_the_totals_it_is_in() {
    // All ten enriched rows of the customer hold the customer's total; each table row is taken out and put in.
    assert_eq!(moved(order(15, 1, 5, 2, 3)), [20, 2, 2, 2, 2, 0, 2]);
}

#[test]
fn a_correction_that_changes_no_amount_moves_no_total() {
    let same_price = product(30, 10_0000);
    assert_eq!(moved(same_price), [0; 7]);
    let Write::Order(id, Some(mut noted)) = nth(5) else { unreachable!("an order") };
    noted.extra = Payload::new(b"a note");
    assert_eq!(moved(Write::Order(id, Some(noted))), [2, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_same_row_again_moves_nothing() {
    assert_eq!(moved(nth(5)), [0; 7]);
    assert_eq!(moved(product(5, 10_0000)), [0; 7]);
    assert_eq!(moved(Write::Order(99, None)), [0; 7]);
}

#[test]
fn a_new_price_moves_what_was_bought_at_it() {
    // Product 0 was bought by both customers on one day: ten rows and one row of enriched data, two of each table by
    // customer.
    assert_eq!(moved(product(0, 12_0000)), [22, 2, 2, 4, 4, 0, 4]);
}

#[test]
fn a_price_of_something_nobody_bought_moves_nothing() {
    assert_eq!(moved(product(99, 5_0000)), [0; 7]);
}

#[test]
fn a_late_customer_moves_only_enriched_rows() {
    let late = Write::Customer(2, Some(Arc::new(Customer { extra: Payload::new(b"known at last") })));
    assert_eq!(moved(late), [2, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_deleted_order_closes_the_ranks_behind_it() {
    // The latest order: its row goes, nine rows get another total; every rank of the matrix is another order's.
    assert_eq!(moved(Write::Order(19, None)), [19, 2, 1, 2, 2, 0, 19]);
    // The earliest of the ten in the matrix: only the last rank goes.
    assert_eq!(moved(Write::Order(10, None)), [19, 2, 2, 2, 2, 0, 1]);
}

#[test]
fn an_order_on_a_day_of_its_own_adds_a_day_and_a_month() {
    // The matrix of customer 2 has a new first rank, and what was first is second.
    assert_eq!(moved(order(21, 2, 1, DAYS + 60, 1)), [3, 1, 2, 2, 2, 1, 3]);
}

#[test]
fn a_corrected_quantity_moves_the_ranks_it_passes_and_the_statistics_of_its_category() {
    // Product 5 goes from among nine that brought 10 to the end, behind the one that brought 20.
    // All ten rows move: the share of rows up to them falls for the eight that still are alike.
    assert_eq!(moved_further(order(15, 1, 5, 2, 3)), [20, 2, 0, 0]);
}

#[test]
fn a_name_or_metadata_that_changes_moves_its_own_rows() {
    let Write::Product(id, Some(row)) = product(3, 10_0000) else { unreachable!("a product") };
    let named = Product { name: Some("Tea".into()), ..row.as_ref().clone() };
    // The row of sales, and what the category's list of names and the product's clean name say.
    assert_eq!(moved_further(Write::Product(id, Some(Arc::new(named)))), [2, 2, 2, 0]);
    let described = Product { metadata: Some(r#"{"colour": "red"}"#.into()), ..row.as_ref().clone() };
    assert_eq!(moved_further(Write::Product(id, Some(Arc::new(described)))), [0, 0, 2, 0]);
    let broken = Product { metadata: Some("{".into()), ..row.as_ref().clone() };
    assert_eq!(moved_further(Write::Product(id, Some(Arc::new(broken)))), [0; 4]);
}

#[test]
fn a_model_moves_every_score_and_nothing_else() {
    let all = moved_in_all(Write::Model(Some(1)));
    assert_eq!(all[..10], [0; 10]);
    assert_eq!(all[10], 22);
}
