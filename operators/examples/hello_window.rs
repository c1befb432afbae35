//! A first window: each customer's orders, numbered, with the amount before and the running total; and the two largest
//! orders of each customer.
//!
//! ```text
//! cargo run -p millstream-operators --example hello_window
//! ```

use millstream_operators::prelude::*;
use serde::{Deserialize, Serialize};

use Customer::{Ann, Bob};

/// Customer, day, amount.
type Order = (Customer, u32, i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Customer {
    Ann,
    Bob,
}

fn main() {
    timely::execute_directly(|worker| {
        let mut orders = worker.dataflow::<u64, _, _>(|scope| {
            let (input, orders) = scope.new_collection::<Order, isize>();

            window(orders.clone(), "By day", |order| order.0, |order| order.1)
                .select(|w| {
                    let spent = w.sum(|order| order.2).rows(..=0);
                    (w.row_number(), w.lag(1, |order| order.2), spent)
                })
                .inspect(|(((customer, day, amount), (number, before, spent)), _, _)| {
                    let before = before.map_or("nothing".into(), |amount| amount.to_string());
                    let spent = spent.expect("amounts fit 64 bits").expect("the frame contains the order");
                    println!("{customer:?}'s order {number}, on day {day}: {amount} after {before}, {spent} in all");
                });

            window(orders, "Largest", |order| order.0, |order| Reverse(order.2)).first(2).inspect(
                |((customer, _, amount), _, _)| println!("one of {customer:?}'s two largest orders: {amount}"),
            );

            input
        });
        for order in [(Ann, 1, 30), (Ann, 4, 80), (Ann, 9, 20), (Bob, 2, 50)] {
            orders.insert(order);
        }
    });
}
