//! A late correction, and what moved: of a customer with a hundred thousand orders, a handful of answers.
//!
//! ```text
//! cargo run --release --example late_order
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use differential_dataflow::input::Input;
use millstream_operators::window::WindowExt;

/// Number, day, amount.
type Order = (u32, u32, i64);

const ORDERS: u32 = 100_000;

fn main() {
    timely::execute_directly(|worker| {
        let moved = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&moved);
        let (mut orders, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, orders) = scope.new_collection::<Order, isize>();
            let by_day = orders.clone().window(|_| (), |order| (order.1, order.0));
            let answers =
                by_day.select(|w| (w.lag(1, |order| order.2), w.ntile(4))).map(|(order, (before, quarter))| {
                    let before = before.map_or("none".into(), |amount| amount.to_string());
                    format!("order {} of {}: {before} before it, quarter {quarter}", order.0, order.2)
                });
            let medians = orders.window(|_| (), |order| order.2).per_partition(|w| w.median());
            let medians = medians.map(|(_, found)| format!("median amount {}", found.expect("there are orders").lower));
            let kept = answers.concat(medians).inspect(move |update| seen.borrow_mut().push(update.clone()));
            (input, kept.probe().0)
        });

        let amount = |number: u32| i64::from(number) * 7919 % 1000;
        (0..ORDERS).for_each(|number| orders.insert((number, number, amount(number))));
        orders.advance_to(1);
        orders.flush();
        let start = Instant::now();
        worker.step_while(|| probe.less_than(&1));
        println!("{ORDERS} orders: {} answers in {:.0?}\n", moved.borrow().len(), start.elapsed());

        // Order 500 was of another amount, and came a year later.
        moved.borrow_mut().clear();
        let start = Instant::now();
        orders.remove((500, 500, amount(500)));
        orders.insert((500, 60_000, 1234));
        orders.advance_to(2);
        orders.flush();
        worker.step_while(|| probe.less_than(&2));
        let elapsed = start.elapsed();
        for (answer, _, diff) in moved.borrow().iter() {
            println!("{} {answer}", if *diff > 0 { '+' } else { '-' });
        }
        println!("\none corrected order: {} updates in {elapsed:.0?}", moved.borrow().len());
    });
}
