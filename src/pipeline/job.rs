//! The job: the collections from which tables are made, from source to sink.

use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use timely::dataflow::StreamVec;

use crate::forest::{Forest, Training};
use crate::model::{
    Account, Customer, CustomerPattern, Day, Id, Line, Order, PriceCategories, Product, ProductSales, Tiers,
};
use crate::operators::{ByKey, Epochs, SharedReduce, Upsert, Waves};

use super::customers::CustomerReductions;
use super::lines::OnConflict;
use super::step::Step;
use super::totals::{ProductTotals, Totals};
use super::train::LoadedLines;
use super::{customers, days, lines, products, train};

/// The input tables of a job.
pub struct Shop<'scope, T: Epochs, I: Id> {
    /// Upserts and deletes of order lines; of those with one id, the last counts. A collection of orders is turned into
    /// upserts by [`upserts`](crate::operators::upserts).
    pub orders: StreamVec<'scope, T, Upsert<I, Order<I>>>,
    /// Called for each id under which one epoch writes different orders, with two of them.
    pub on_conflict: Option<OnConflict<I, Order<I>>>,
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
    /// True if each time of the lines by customer has all lines of some customers.
    is_in_waves: bool,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
    lines: VecCollection<'scope, T, (Option<I>, Line<I>)>,
    lines_by_customer: Step<'scope, ByKey<'scope, T, Option<I>, Line<I>>>,
    buyers_of_changed: StreamVec<'scope, T, (Option<I>, T, isize)>,
    customer_reductions: Step<'scope, Rc<SharedReduce<'scope, T, Option<I>, Line<I>>>>,
    patterns: Step<'scope, VecCollection<'scope, T, CustomerPattern<I>>>,
    accounts: Step<'scope, VecCollection<'scope, T, (Option<I>, Arc<Account>)>>,
    product_totals: Step<'scope, VecCollection<'scope, T, (Option<I>, ProductTotals)>>,
    product_sales: Step<'scope, VecCollection<'scope, T, ProductSales<I>>>,
    models: Step<'scope, VecCollection<'scope, T, Arc<Forest>>>,
}

impl<'scope, T: Epochs, I: Id> Job<'scope, T, I> {
    /// Builds the dataflow of the tables that `tables` makes of the job.
    ///
    /// A step is built when a table first uses it, and then shared.
    ///
    /// # Panics
    ///
    /// If the settings of the training are [out of range](Training::check), and a table uses the model.
    pub fn build<R>(shop: Shop<'scope, T, I>, settings: Settings, tables: impl FnOnce(&Self) -> R) -> R {
        Job::build_with_models(shop, settings, None::<fn(isize)>, None, tables).0
    }

    /// As [`build`](Self::build); returns the [`models`](Self::models) too, if a table uses them. `count` is called
    /// with the numbers by which that of the orders changes, before they are arranged. In `waves`, the input must close
    /// after the least time.
    pub(crate) fn build_with_models<R>(
        shop: Shop<'scope, T, I>,
        settings: Settings,
        count: Option<impl FnMut(isize) + 'static>,
        waves: Option<Waves<T>>,
        tables: impl FnOnce(&Self) -> R,
    ) -> (R, Option<VecCollection<'scope, T, Arc<Forest>>>) {
        let job = Job::new(shop, settings, count, waves);
        let made = tables(&job);
        job.customer_reductions.built().iter().for_each(|reductions| reductions.build());
        (made, job.models.built())
    }

    /// The steps from the input to the collections from which tables are made.
    fn new(
        Shop { orders, on_conflict, products, customers, models }: Shop<'scope, T, I>,
        settings: Settings,
        count: Option<impl FnMut(isize) + 'static>,
        waves: Option<Waves<T>>,
    ) -> Self {
        let (tiers, training) = (settings.tiers.clone(), settings.training.clone());
        let no_models = products.clone();
        let models = move || models.unwrap_or_else(|| no_models.flat_map(|_| None));

        let spill = waves.as_ref().and_then(|waves| waves.spill.clone());
        let (lines, buyers_of_changed) = lines::priced(orders, on_conflict, products.clone(), spill);
        let lines = match count {
            Some(mut count) => lines.inspect_batch(move |_, lines| count(lines.iter().map(|(_, _, diff)| diff).sum())),
            None => lines,
        };
        let (all_lines, sampled) = (lines.clone(), lines.clone());
        let (is_in_waves, after) = (waves.is_some(), waves.as_ref().map(|waves| waves.after.clone()));
        let lines_by_customer = Step::new(move || lines::by_customer(all_lines, waves));
        let reductions = move |lines| Rc::new(customers::reductions(lines, after));
        let customer_reductions = Step::new(lines_by_customer.then(reductions));
        let patterns = customer_reductions.then(move |reductions| customers::patterns(&reductions, &tiers));
        let patterns = Step::new(patterns);
        let accounts = Step::new(patterns.then(move |patterns| customers::accounts(patterns, customers)));
        let product_totals = Step::new(customer_reductions.then(|reductions| products::totals(&reductions)));
        let items = products.clone();
        let product_sales = Step::new(product_totals.then(|totals| products::product_sales(totals, items)));
        let arranged = lines_by_customer.then(LoadedLines::Arranged);
        let loaded = move || if is_in_waves { LoadedLines::Unarranged(sampled) } else { arranged() };
        let models = Step::new(move || train::with_trained(models(), loaded(), training.as_ref()));

        Job {
            settings,
            is_in_waves,
            products,
            lines,
            lines_by_customer,
            buyers_of_changed,
            customer_reductions,
            patterns,
            accounts,
            product_totals,
            product_sales,
            models,
        }
    }

    /// What the tables depend on beside the data.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// True if each time of the [lines by customer](Self::lines_by_customer) has all lines of some customers.
    pub(super) fn is_in_waves(&self) -> bool {
        self.is_in_waves
    }

    /// The products, as they were given.
    #[must_use]
    pub fn products(&self) -> VecCollection<'scope, T, (I, Arc<Product>)> {
        self.products.clone()
    }

    /// Every order with its price, arranged by customer.
    #[must_use]
    pub fn lines_by_customer(&self) -> ByKey<'scope, T, Option<I>, Line<I>> {
        self.lines_by_customer.get()
    }

    /// The customers who bought a product that changed in another column than its price, once for each such order, in
    /// the epoch in which it changed.
    pub(super) fn buyers_of_changed(&self) -> StreamVec<'scope, T, (Option<I>, T, isize)> {
        self.buyers_of_changed.clone()
    }

    /// The operator that reduces the lines of each customer whose lines change; tables add their reductions to it.
    #[must_use]
    pub fn customer_reductions(&self) -> CustomerReductions<'scope, T, I> {
        CustomerReductions::clone(&self.customer_reductions.get())
    }

    /// Orders, customers and amounts of each day, as diffs.
    ///
    /// They are read from the [lines by customer](Self::lines_by_customer) if these are built already, and else from
    /// the lines themselves, which takes less time than to arrange them for this alone.
    #[must_use]
    pub fn daily_totals(&self) -> VecCollection<'scope, T, Option<Day>, Totals> {
        match self.lines_by_customer.built() {
            Some(_) => days::totals(&self.customer_reductions()),
            None => days::totals_of_lines(self.lines.clone()),
        }
    }

    /// What each customer bought, guests as one group.
    #[must_use]
    pub fn customer_patterns(&self) -> VecCollection<'scope, T, CustomerPattern<I>> {
        self.patterns.get()
    }

    /// What the enriched rows of each customer share: one record for each customer with orders, on the worker that has
    /// the lines.
    ///
    /// A corrected order changes one line and one account, and thereby every enriched row of the customer.
    #[must_use]
    pub fn accounts(&self) -> VecCollection<'scope, T, (Option<I>, Arc<Account>)> {
        self.accounts.get()
    }

    /// Orders, customers and pieces of each product that was ordered.
    #[must_use]
    pub fn product_totals(&self) -> VecCollection<'scope, T, (Option<I>, ProductTotals)> {
        self.product_totals.get()
    }

    /// What was sold of each product that was ordered.
    #[must_use]
    pub fn product_sales(&self) -> VecCollection<'scope, T, ProductSales<I>> {
        self.product_sales.get()
    }

    /// The models that score orders: those given, and the one trained on the orders of the first epoch, if the settings
    /// ask for that.
    #[must_use]
    pub fn models(&self) -> VecCollection<'scope, T, Arc<Forest>> {
        self.models.get()
    }
}
