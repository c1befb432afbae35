//! The whole job: from three tables to eleven, kept right while any of the three changes.
//!
//! ```text
//! orders ────┐ by id                     ┌── product_sales, product_ranking, category_stats
//! products ──┴─ lines ─┐ by customer ────┼── daily_sales, cohort_analysis
//!                      ├─────────────────┼── customer_patterns, rfm_analysis
//! customers ──── accounts ───────────────┼── customer_product_matrix
//!                                        ├── order_anomalies ◀── models
//!                                        └── enriched_data
//! ```
//!
//! Orders are kept by id, where the last one written counts and a price finds the orders it changes; order lines are
//! indexed by customer, in the order of days, and nearly all else is read off that one index. What a customer's or a
//! product's rows share (a total, a name) is a small collection of its own; it is joined to rows only where a table is
//! made.
//!
//! Inputs and outputs lie in the caller's scope, on the caller's workers, at any totally ordered time:
//!
//! ```
//! use std::sync::Arc;
//! use differential_dataflow::input::Input;
//! use millstream::model::{Amount, DailySales, Day, Discount, Order, Payload, Price, Product, Sum};
//! use millstream::operators::Position;
//! use millstream::pipeline::{Job, Settings, Shop};
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
//!         let job = Job::new(Shop { orders, products, customers }, settings);
//!         (order_input, product_input, job.daily_sales().inner.capture())
//!     });
//!     let tea = Product {
//!         name: Some("Tea".into()),
//!         category: "Drinks".into(),
//!         price: Price::from_e4(2_5000).unwrap(),
//!         brand: None,
//!         metadata: None,
//!         extra: Payload::default(),
//!     };
//!     let order = |quantity| Order {
//!         customer: Some(7),
//!         product: Some(1),
//!         day,
//!         quantity,
//!         discount: Discount::default(),
//!         extra: Payload::default(),
//!     };
//!     products.insert((1, Arc::new(tea)));
//!     orders.send((100, Position::after(0), Some(order(2))));
//!     orders.advance_to(1); // it was three after all
//!     orders.send((100, Position::after(0), Some(order(3))));
//!     updates
//! });
//! let sales = |e8| DailySales { day, revenue: Sum { total: Amount::from_e8(e8), count: 1 }, customers: 1 };
//! let updates: Vec<_> = updates.extract().into_iter().flat_map(|(_, updates)| updates).collect();
//! assert_eq!(updates, [(sales(5_00000000), 0, 1), (sales(5_00000000), 1, -1), (sales(7_50000000), 1, 1)]);
//! ```

mod anomalies;
mod categories;
mod customers;
mod days;
mod enrich;
mod products;
mod totals;

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use timely::dataflow::StreamVec;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{
    Account, CategoryStats, CohortSize, Customer, CustomerPattern, DailySales, Day, Enriched, Id, Line, MatrixEntry,
    Order, OrderAnomaly, Product, ProductFeatures, ProductRanking, ProductSales, Rfm, Tiers,
};
use crate::operators::{ByKey, Upsert, Visit};
use crate::udf::PriceCategories;
use crate::udf::forest::Forest;

use totals::ProductTotals;

/// The three tables.
pub struct Shop<'scope, T: Timestamp, I: Id> {
    /// The order lines as they are written, rewritten and deleted: of those with one id, the last counts. The job has
    /// the only copy. Orders that are a collection already are made writes by [`upserts`](crate::operators::upserts).
    pub orders: StreamVec<'scope, T, Upsert<I, Order<I>>>,
    /// The products by id: at every time at most one row for an id.
    pub products: VecCollection<'scope, T, (I, Arc<Product>)>,
    /// The customers by id: at every time at most one row for an id.
    pub customers: VecCollection<'scope, T, (I, Arc<Customer>)>,
}

/// What the tables depend on beside the data.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The day from which recency is counted.
    pub as_of: Day,
    /// The customers' tiers.
    pub tiers: Tiers,
    /// How many orders of each customer `customer_product_matrix` has.
    pub matrix_size: usize,
    /// The names of prices in `product_features`.
    pub price_categories: PriceCategories,
}

impl Settings {
    /// Settings as of a day, with the usual tiers and the ten latest orders.
    #[must_use]
    pub fn as_of(as_of: Day) -> Settings {
        let (tiers, price_categories) = (Tiers::default(), PriceCategories::default());
        Settings { as_of, tiers, matrix_size: 10, price_categories }
    }
}

/// The job, ready to make tables: each method adds what its table needs to the dataflow, and gives the table.
///
/// A row of a table is one record of its collection, with weight 1. After a change, a table's updates are the rows that
/// differ; within one epoch they may hold pairs that cancel.
///
/// What is asked about customers is answered by one operator, which is made when the job is dropped: do not keep a job from
/// being dropped.
pub struct Job<'scope, T: Timestamp + Lattice + TotalOrder, I: Id> {
    settings: Settings,
    by_customer: ByKey<'scope, T, Option<I>, Line<I>>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
    customers: VecCollection<'scope, T, (I, Arc<Customer>)>,
    /// What is asked about each customer whose lines change, until all is asked.
    visit: RefCell<Option<CustomerVisit<'scope, T, I>>>,
    /// Made when first asked for: several tables use them.
    patterns: OnceCell<VecCollection<'scope, T, CustomerPattern<I>>>,
    accounts: OnceCell<VecCollection<'scope, T, (Option<I>, Arc<Account>)>>,
    product_totals: OnceCell<VecCollection<'scope, T, (Option<I>, ProductTotals)>>,
    product_sales: OnceCell<VecCollection<'scope, T, ProductSales<I>>>,
}

impl<'scope, T: Timestamp + Lattice + TotalOrder, I: Id> Job<'scope, T, I> {
    /// Joins orders to products, and indexes the lines by customer.
    #[must_use]
    pub fn new(shop: Shop<'scope, T, I>, settings: Settings) -> Self {
        let lines = enrich::lines(shop.orders, shop.products.clone());
        let by_customer = enrich::by_customer(lines);
        let visit = RefCell::new(Some(Visit::new(by_customer.clone(), "Visits to customers")));
        Job {
            settings,
            visit,
            by_customer,
            products: shop.products,
            customers: shop.customers,
            patterns: OnceCell::new(),
            accounts: OnceCell::new(),
            product_totals: OnceCell::new(),
            product_sales: OnceCell::new(),
        }
    }

    /// The products, as they were given.
    #[must_use]
    pub fn products(&self) -> VecCollection<'scope, T, (I, Arc<Product>)> {
        self.products.clone()
    }

    /// Every order with its price, indexed by who ordered it.
    #[must_use]
    pub fn lines_by_customer(&self) -> ByKey<'scope, T, Option<I>, Line<I>> {
        self.by_customer.clone()
    }

    /// `enriched_data`: every order with its product, its customer, and the customer's total and tier.
    ///
    /// These are wide rows, and one more copy of them is kept to find those of a product. Who can join them where they are
    /// used does with the parts: [`lines_by_customer`](Self::lines_by_customer),
    /// [`accounts`](Self::accounts) and [`products`](Self::products).
    #[must_use]
    pub fn enriched_data(&self) -> VecCollection<'scope, T, Enriched<I>> {
        enrich::enriched(&self.by_customer, self.accounts(), self.products())
    }

    /// `daily_sales`: revenue, customers and the average order of each day.
    #[must_use]
    pub fn daily_sales(&self) -> VecCollection<'scope, T, DailySales> {
        self.ask(days::daily_sales)
    }

    /// `product_sales`: pieces, revenue and customers of each product.
    #[must_use]
    pub fn product_sales(&self) -> VecCollection<'scope, T, ProductSales<I>> {
        let make = || products::product_sales(self.product_totals(), self.products.clone());
        self.product_sales.get_or_init(make).clone()
    }

    fn product_totals(&self) -> VecCollection<'scope, T, (Option<I>, ProductTotals)> {
        let make = || products::totals_by_product(products::by_product(&self.by_customer));
        self.product_totals.get_or_init(make).clone()
    }

    /// `customer_patterns`: orders, spending and the days between which they lie, of each customer.
    #[must_use]
    pub fn customer_patterns(&self) -> VecCollection<'scope, T, CustomerPattern<I>> {
        let make = || self.ask(|visit| customers::patterns(visit, &self.settings.tiers));
        self.patterns.get_or_init(make).clone()
    }

    /// `rfm_analysis`: recency, frequency and monetary value of each customer.
    #[must_use]
    pub fn rfm_analysis(&self) -> VecCollection<'scope, T, Rfm<I>> {
        let as_of = self.settings.as_of.days();
        self.customer_patterns().map(move |row| Rfm {
            customer: row.customer,
            recency: row.last.map(|last| as_of - last.days()),
            frequency: row.orders,
            monetary: row.spent.get(),
        })
    }

    /// `cohort_analysis`: the customers of each month.
    #[must_use]
    pub fn cohort_analysis(&self) -> VecCollection<'scope, T, CohortSize> {
        self.ask(days::cohort_analysis)
    }

    /// `customer_product_matrix`: the latest orders of each customer, numbered.
    #[must_use]
    pub fn customer_product_matrix(&self) -> VecCollection<'scope, T, MatrixEntry<I>> {
        self.ask(|visit| customers::latest_orders(visit, self.settings.matrix_size))
    }

    /// `product_ranking`: how the sales of each product compare with those of its category.
    ///
    /// A product whose revenue changes moves the rows between its old place and its new one; one that comes or goes moves
    /// its whole category, for every share of it is another.
    #[must_use]
    pub fn product_ranking(&self) -> VecCollection<'scope, T, ProductRanking<I>> {
        categories::product_ranking(self.product_sales())
    }

    /// `category_stats`: statistics of the prices and order lines of each category, and its products and brands.
    ///
    /// A row has the names of all products of its category, but is sent by reference: an order line moves one row, in O(1). A
    /// name or brand that changes costs its category.
    #[must_use]
    pub fn category_stats(&self) -> VecCollection<'scope, T, CategoryStats> {
        categories::category_stats(self.product_totals(), self.products.clone())
    }

    /// `product_features`: name, price and metadata of each product, made fit for use.
    #[must_use]
    pub fn product_features(&self) -> VecCollection<'scope, T, ProductFeatures<I>> {
        products::product_features(self.products.clone(), &self.settings.price_categories)
    }

    /// `order_anomalies`: what each order's piece costs after its discount, and how normal the order is.
    ///
    /// `models` has at every time at most one model; while it has none, there are no scores. A new one scores every order
    /// anew, in its epoch.
    #[must_use]
    pub fn order_anomalies(
        &self,
        models: VecCollection<'scope, T, Arc<Forest>>,
    ) -> VecCollection<'scope, T, OrderAnomaly<I>> {
        anomalies::order_anomalies(self.by_customer.clone(), models)
    }

    /// What the enriched rows of each customer share: a row for each customer with orders, on the worker that has the lines.
    ///
    /// An order that is corrected changes one line and one account, and every enriched row of the customer.
    #[must_use]
    pub fn accounts(&self) -> VecCollection<'scope, T, (Option<I>, Arc<Account>)> {
        let make = || customers::accounts(self.customer_patterns(), self.customers.clone());
        self.accounts.get_or_init(make).clone()
    }

    /// Asks something about each customer whose lines change.
    fn ask<A>(&self, question: impl FnOnce(&mut CustomerVisit<'scope, T, I>) -> A) -> A {
        question(self.visit.borrow_mut().as_mut().expect("it is there until the job is dropped"))
    }
}

/// Visits to the customers whose lines change, which are sorted by day: what is asked about a customer is answered at once.
type CustomerVisit<'scope, T, I> = Visit<'scope, T, Option<I>, Line<I>>;

/// A job that is dropped has all the tables that it will have, and the operator that visits customers is made. It is dropped where
/// its dataflow is made, for it can't leave the scope.
impl<T: Timestamp + Lattice + TotalOrder, I: Id> Drop for Job<'_, T, I> {
    fn drop(&mut self) {
        if let Some(visit) = self.visit.take().filter(|_| !std::thread::panicking()) {
            visit.build();
        }
    }
}
