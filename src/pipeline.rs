//! What the tables share: from orders, products and customers to lines, accounts and product totals.
//!
//! ```text
//! orders ────┐ by id
//! products ──┴─ lines ── by customer ─┬─ customers (fused reductions) ── patterns ─┐
//!                                     │                                           ├─ accounts
//! customers ──────────────────────────┼───────────────────────────────────────────┘
//!                                     ├─ product totals ── product sales
//!                                     └─ models (trained)
//! ```
//!
//! Orders are kept by id: the last write of an id counts, and a new price finds the orders it affects. Order lines are
//! arranged by customer, in the order of days, and nearly everything else is read from that one arrangement. What the
//! rows of a customer or a product share (a total, a name) is a collection of its own, joined to rows only where a
//! table is made. The tables themselves are in [`tables`](crate::tables), one file each.
//!
//! Inputs and outputs are collections of the caller's scope, at any totally ordered time:
//!
//! ```
//! use std::sync::Arc;
//! use differential_dataflow::input::Input;
//! use millstream::model::{Amount, AmountSum, Day, Order, Price, Product};
//! use millstream::operators::Position;
//! use millstream::pipeline::{Job, Settings, Shop};
//! use millstream::tables::{DailySales, DailySalesTable, Table};
//! use timely::dataflow::operators::Input as _;
//! use timely::dataflow::operators::capture::{Capture, Extract};
//!
//! let day = Day::from_ymd(2024, 5, 1);
//! let updates = timely::execute_directly(move |worker| {
//!     let (mut orders, mut products, updates) = worker.dataflow::<u64, _, _>(|scope| {
//!         let (order_input, orders) = scope.new_input();
//!         let (product_input, products) = scope.new_collection();
//!         let (_, customers) = scope.new_collection();
//!         let settings = Settings::as_of(Day::from_ymd(2024, 12, 31).unwrap());
//!         let shop = Shop { orders, products, customers, on_conflict: None, models: None };
//!         let sales = Job::build(shop, settings, |job| DailySalesTable.rows(job));
//!         (order_input, product_input, sales.inner.capture())
//!     });
//!     let tea = Product::of("Drinks", Price::from_e4(2_5000).unwrap());
//!     let order = |quantity| Order { day, quantity, ..Order::of(7, 1) };
//!     products.insert((1, Arc::new(tea)));
//!     orders.send((100, Position::after(0), Some(order(2))));
//!     orders.advance_to(1); // a correction: three, not two
//!     orders.send((100, Position::after(0), Some(order(3))));
//!     updates
//! });
//! let sales = |e8| DailySales { day, revenue: AmountSum { total: Amount::from_e8(e8), count: 1 }, customers: 1 };
//! let updates: Vec<_> = updates.extract().into_iter().flat_map(|(_, updates)| updates).collect();
//! assert_eq!(updates, [(sales(5_00000000), 0, 1), (sales(5_00000000), 1, -1), (sales(7_50000000), 1, 1)]);
//! ```

mod customers;
mod days;
mod enriched;
mod enriched_inputs;
mod job;
mod lines;
mod products;
mod step;
mod totals;
mod train;

pub use crate::operators::Epochs;
pub use customers::CustomerReductions;
pub use enriched::{Enriched, EnrichedRowsOf};
pub(crate) use enriched::{EnrichedJoin, EnrichedReader, EnrichedRows, GatheredJoin, LinePart, RowSearch, Unjoined};
pub(crate) use enriched_inputs::least;
pub use job::{Job, Settings, Shop};
pub use lines::OnConflict;
pub use totals::{ProductTotals, Totals};
