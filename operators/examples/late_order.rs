//! A late correction to one of a customer's hundred thousand orders changes a handful of answers.
//!
//! ```text
//! cargo run --release -p millstream-operators --example late_order
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use millstream_operators::prelude::*;

/// Number, day, amount.
type Order = (u32, u32, i64);

const ORDERS: u32 = 100_000;

fn main() {
    timely::execute_directly(|worker| {
        let changed = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&changed);
        let (mut orders, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, orders) = scope.new_collection::<Order, isize>();
            let by_day = window(orders.clone(), "By day", |_| (), |order| (order.1, order.0));
            let answers =
                by_day.select(|w| (w.lag(1, |order| order.2), w.ntile(4))).map(|(order, (before, quarter))| {
                    let before = before.map_or("none".into(), |amount| amount.to_string());
                    format!("order {} of {}: {before} before it, quarter {quarter}", order.0, order.2)
                });
            let medians = window(orders, "By amount", |_| (), |order| order.2).per_partition(|w| w.median());
            let medians =
                medians.map(|(_, found)| format!("median amount {}", found.expect("a partition has rows").lower));
            let kept = answers.concat(medians).inspect(move |update| seen.borrow_mut().push(update.clone()));
            (input, kept.probe().0)
        });

        let amount = |number: u32| i64::from(number) * 7919 % 1000;
        (0..ORDERS).for_each(|number| orders.insert((number, number, amount(number))));
        orders.advance_to(1);
        orders.flush();
        let start = Instant::now();
        worker.step_while(|| probe.less_than(&1));
        println!("{ORDERS} orders: {} answers in {:.0?}\n", changed.borrow().len(), start.elapsed());

        // Order 500 is corrected: another amount, on a much later day.
        changed.borrow_mut().clear();
        let start = Instant::now();
        orders.remove((500, 500, amount(500)));
        orders.insert((500, 60_000, 1234));
        orders.advance_to(2);
        orders.flush();
        worker.step_while(|| probe.less_than(&2));
        let elapsed = start.elapsed();
        for (answer, _, diff) in changed.borrow().iter() {
            println!("{} {answer}", if *diff > 0 { '+' } else { '-' });
        }
        println!("\none corrected order: {} updates in {elapsed:.0?}", changed.borrow().len());
    });
}
