//! The job: the collections from which tables are made, from source to sink.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use differential_dataflow::VecCollection;
use timely::dataflow::StreamVec;

use crate::forest::{Forest, Training};
use crate::model::{
    Account, Customer, CustomerPattern, Day, Id, Line, Order, PriceCategories, Product, ProductSales, Tiers,
};
use crate::operators::{ByKey, Epochs, SharedReduce, Upsert};

use super::totals::{ProductTotals, Sale};
use super::{customers, lines, products, train};

/// The input tables of a job.
pub struct Shop<'scope, T: Epochs, I: Id> {
    /// Upserts and deletes of order lines; of those with one id, the last counts. A collection of orders is turned into
    /// upserts by [`upserts`](crate::operators::upserts).
    pub orders: StreamVec<'scope, T, Upsert<I, Order<I>>>,
    /// The products, at most one row for an id at any time.
    pub products: VecCollection<'scope, T, (I, Arc<Product>)>,
    /// The customers, at most one row for an id at any time.
    pub customers: VecCollection<'scope, T, (I, Arc<Customer>)>,
    /// The model that scores orders, at most one at any time; `None` if there is none.
    pub models: Option<VecCollection<'scope, T, Arc<Forest>>>,
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
    /// How a model is trained on the orders of the first epoch; `None` if none is.
    pub training: Option<Training>,
}

impl Settings {
    /// Settings as of a day: the default tiers and price categories, the ten latest orders, and no training.
    #[must_use]
    pub fn as_of(as_of: Day) -> Settings {
        let (tiers, price_categories) = (Tiers::default(), PriceCategories::default());
        Settings { as_of, tiers, matrix_size: 10, price_categories, training: None }
    }
}

/// The collections from which tables are made.
///
/// A record of a table's collection is one row, with weight 1. After a change, a table's updates are the rows that
/// differ; within one epoch they may contain pairs that cancel.
pub struct Job<'scope, T: Epochs, I: Id> {
    settings: Settings,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
    customers: VecCollection<'scope, T, (I, Arc<Customer>)>,
    given_models: Option<VecCollection<'scope, T, Arc<Forest>>>,
    lines_by_customer: ByKey<'scope, T, Option<I>, Line<I>>,
    customer_reductions: RefCell<CustomerReductions<'scope, T, I>>,
    patterns: OnceCell<VecCollection<'scope, T, CustomerPattern<I>>>,
    accounts: OnceCell<VecCollection<'scope, T, (Option<I>, Arc<Account>)>>,
    sales_by_product: OnceCell<ByKey<'scope, T, Option<I>, Sale<I>>>,
    product_totals: OnceCell<VecCollection<'scope, T, (Option<I>, ProductTotals)>>,
    product_sales: OnceCell<VecCollection<'scope, T, ProductSales<I>>>,
    models: OnceCell<VecCollection<'scope, T, Arc<Forest>>>,
}

/// Fused reductions over the lines of each customer whose lines change: the customer is looked up once for all of them.
pub type CustomerReductions<'scope, T, I> = SharedReduce<'scope, T, Option<I>, Line<I>>;

impl<'scope, T: Epochs, I: Id> Job<'scope, T, I> {
    /// Builds the dataflow of the tables that `tables` makes of the job.
    ///
    /// What several tables share is built once, and nothing is built that no table uses.
    pub fn build<R>(shop: Shop<'scope, T, I>, settings: Settings, tables: impl FnOnce(&Self) -> R) -> R {
        let lines = lines::priced(shop.orders, shop.products.clone());
        let lines_by_customer = lines::by_customer(lines);
        let customer_reductions = SharedReduce::new(lines_by_customer.clone(), "Reductions by customer");
        let job = Job {
            settings,
            products: shop.products,
            customers: shop.customers,
            given_models: shop.models,
            lines_by_customer,
            customer_reductions: RefCell::new(customer_reductions),
            patterns: OnceCell::new(),
            accounts: OnceCell::new(),
            sales_by_product: OnceCell::new(),
            product_totals: OnceCell::new(),
            product_sales: OnceCell::new(),
            models: OnceCell::new(),
        };
        let tables = tables(&job);
        job.customer_reductions.into_inner().build();
        tables
    }

    /// What the tables depend on beside the data.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The products, as they were given.
    #[must_use]
    pub fn products(&self) -> VecCollection<'scope, T, (I, Arc<Product>)> {
        self.products.clone()
    }

    /// Every order with its price, arranged by customer.
    #[must_use]
    pub fn lines_by_customer(&self) -> ByKey<'scope, T, Option<I>, Line<I>> {
        self.lines_by_customer.clone()
    }

    /// Adds a reduction over the lines of each customer whose lines change.
    pub fn reduce_customers<R>(&self, reduction: impl FnOnce(&mut CustomerReductions<'scope, T, I>) -> R) -> R {
        reduction(&mut self.customer_reductions.borrow_mut())
    }

    /// What each customer bought, guests as one group.
    #[must_use]
    pub fn customer_patterns(&self) -> VecCollection<'scope, T, CustomerPattern<I>> {
        let make = || self.reduce_customers(|customers| customers::patterns(customers, &self.settings.tiers));
        self.patterns.get_or_init(make).clone()
    }

    /// What the enriched rows of each customer share: one record for each customer with orders, on the worker that has the lines.
    ///
    /// A corrected order changes one line and one account, and thereby every enriched row of the customer.
    #[must_use]
    pub fn accounts(&self) -> VecCollection<'scope, T, (Option<I>, Arc<Account>)> {
        let make = || customers::accounts(self.customer_patterns(), self.customers.clone());
        self.accounts.get_or_init(make).clone()
    }

    /// The sales of each product, without its price: a new price changes no sale.
    #[must_use]
    pub fn sales_by_product(&self) -> ByKey<'scope, T, Option<I>, Sale<I>> {
        self.sales_by_product.get_or_init(|| products::by_product(&self.lines_by_customer)).clone()
    }

    /// Orders, customers and pieces of each product that was ordered.
    #[must_use]
    pub fn product_totals(&self) -> VecCollection<'scope, T, (Option<I>, ProductTotals)> {
        self.product_totals.get_or_init(|| products::totals_by_product(self.sales_by_product())).clone()
    }

    /// What was sold of each product that was ordered.
    #[must_use]
    pub fn product_sales(&self) -> VecCollection<'scope, T, ProductSales<I>> {
        let make = || products::product_sales(self.product_totals(), self.products.clone());
        self.product_sales.get_or_init(make).clone()
    }

    /// The models that score orders: those given, and the one trained on the orders of the first epoch, if the settings
    /// ask for that.
    #[must_use]
    pub fn models(&self) -> VecCollection<'scope, T, Arc<Forest>> {
        let make = || {
            let given = self.given_models.clone().unwrap_or_else(|| self.products().flat_map(|_| None));
            match &self.settings.training {
                Some(training) => given.concat(train::trained(self.lines_by_customer(), training)),
                None => given,
            }
        };
        self.models.get_or_init(make).clone()
    }

    /// The [`models`](Self::models), if a table has asked for them.
    pub(crate) fn models_in_use(&self) -> Option<VecCollection<'scope, T, Arc<Forest>>> {
        self.models.get().cloned()
    }
}
