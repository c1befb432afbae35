//! The job inside a timely program that is not ours: its own inputs, its own workers, its own use of the tables.
//!
//! A shop's checkout sends orders as they are placed. This program keeps the customers who are VIPs, and prints when
//! one becomes a VIP, or stops being one because an order was cancelled.
//!
//! ```text
//! cargo run --release --example vips
//! ```

use std::sync::Arc;

use differential_dataflow::input::Input as _; // new_collection
use millstream::model::{Day, Order, Product, Tiers};
use millstream::operators::{Position, Upsert};
use millstream::pipeline::{Job, Settings, Shop};
use timely::dataflow::operators::Input as _; // new_input

fn main() {
    timely::execute(timely::Config::process(2), |worker| {
        let (mut orders, mut products, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (order_input, orders) = scope.new_input();
            let (product_input, products) = scope.new_collection();
            let (_, customers) = scope.new_collection();
            let settings = Settings::as_of(Day::from_ymd(2024, 12, 31).expect("a date"));
            let shop = Shop { orders, products, customers, on_conflict: None, models: None };

            // A table is a collection: what follows is ordinary differential dataflow.
            let tiers = Tiers::default();
            let vips = Job::build(shop, settings, Job::customer_patterns)
                .filter(move |row| row.tier.is_some_and(|tier| tiers.name(tier) == "VIP"))
                .map(|row| row.customer)
                .consolidate()
                .inspect(|(customer, hour, diff)| {
                    let customer = customer.expect("guests have no tier");
                    let what = if *diff > 0 { "is a VIP now" } else { "is a VIP no longer" };
                    println!("hour {hour}: customer {customer} {what}");
                });
            (order_input, product_input, vips.probe().0)
        });

        if worker.index() == 0 {
            let price = "2500".parse().expect("a price");
            let desk = Product { name: Some("Desk".into()), ..Product::of("Furniture", price) };
            products.insert((1, Arc::new(desk)));
            orders.send(desks(100, 7, 3));
            orders.send(desks(101, 8, 1));
        }
        orders.advance_to(1);
        products.advance_to(1);
        if worker.index() == 0 {
            orders.send(desks(102, 7, 2)); // customer 7 has now spent 12,500
        }
        orders.advance_to(2);
        products.advance_to(2);
        if worker.index() == 0 {
            orders.send((100, Position::after(0), None)); // the first order is taken back
        }
        orders.advance_to(3);
        products.advance_to(3);
        orders.flush();
        products.flush();
        worker.step_while(|| probe.less_than(&3));
    })
    .expect("the workers start");
}

/// An order of some desks.
fn desks(id: i64, customer: i64, quantity: i32) -> Upsert<i64, Order<i64>> {
    let order = Order { day: Day::from_ymd(2024, 5, 1), quantity, ..Order::of(customer, 1) };
    // The only write of its id in its epoch, so its position among others does not matter.
    (id, Position::after(0), Some(order))
}
