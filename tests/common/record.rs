//! A run of the job over a history, with every update of every table recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use differential_dataflow::{AsCollection, Data, VecCollection};
use millstream::model::{CustomerPattern, Id, Order, ProductSales};
use millstream::operators::{Position, Upsert, latest};
use millstream::pipeline::{Enriched, Job, Settings, Shop};
use millstream::tables::{
    CategoryStats, CategoryStatsTable, CohortAnalysisTable, CohortSize, CustomerPatternsTable,
    CustomerProductMatrixTable, DailySales, DailySalesTable, EnrichedDataTable, FirstPurchaseCohortsTable, MatrixEntry,
    NewCustomers, OrderAnomaliesTable, OrderAnomaly, ProductFeatures, ProductFeaturesTable, ProductRanking,
    ProductRankingTable, ProductSalesTable, Rfm, RfmAnalysisTable, Table,
};
use timely::dataflow::operators::Input;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::{InputHandle, StreamVec};

use super::history::{History, Write, model};
use super::naive::Answer;

/// The updates of one table: row, epoch, diff.
pub type Updates<R> = Arc<Mutex<Vec<(R, u64, isize)>>>;

/// The updates of all tables.
#[derive(Clone)]
pub struct Recorded<I> {
    pub enriched_data: Updates<Enriched<I>>,
    pub daily_sales: Updates<DailySales>,
    pub product_sales: Updates<ProductSales<I>>,
    pub customer_patterns: Updates<CustomerPattern<I>>,
    pub rfm_analysis: Updates<Rfm<I>>,
    pub cohort_analysis: Updates<CohortSize>,
    pub customer_product_matrix: Updates<MatrixEntry<I>>,
    pub product_ranking: Updates<ProductRanking<I>>,
    pub category_stats: Updates<CategoryStats>,
    pub product_features: Updates<ProductFeatures<I>>,
    pub order_anomalies: Updates<OrderAnomaly<I>>,
    pub first_purchase_cohorts: Updates<NewCustomers>,
}

impl<I: Id> Recorded<I> {
    fn empty() -> Self {
        Recorded {
            enriched_data: Arc::default(),
            daily_sales: Arc::default(),
            product_sales: Arc::default(),
            customer_patterns: Arc::default(),
            rfm_analysis: Arc::default(),
            cohort_analysis: Arc::default(),
            customer_product_matrix: Arc::default(),
            product_ranking: Arc::default(),
            category_stats: Arc::default(),
            product_features: Arc::default(),
            order_anomalies: Arc::default(),
            first_purchase_cohorts: Arc::default(),
        }
    }

    /// The tables after an epoch.
    pub fn after(&self, epoch: u64) -> Answer<I> {
        Answer {
            enriched_data: rows(&self.enriched_data, epoch),
            daily_sales: rows(&self.daily_sales, epoch),
            product_sales: rows(&self.product_sales, epoch),
            customer_patterns: rows(&self.customer_patterns, epoch),
            rfm_analysis: rows(&self.rfm_analysis, epoch),
            cohort_analysis: rows(&self.cohort_analysis, epoch),
            customer_product_matrix: rows(&self.customer_product_matrix, epoch),
            product_ranking: rows(&self.product_ranking, epoch),
            category_stats: rows(&self.category_stats, epoch),
            product_features: rows(&self.product_features, epoch),
            order_anomalies: rows(&self.order_anomalies, epoch),
            first_purchase_cohorts: rows(&self.first_purchase_cohorts, epoch),
        }
    }

    /// The number of rows of each table an epoch changed, in the order of the fields.
    pub fn moved(&self, epoch: u64) -> [usize; 12] {
        [
            moved(&self.enriched_data, epoch),
            moved(&self.daily_sales, epoch),
            moved(&self.product_sales, epoch),
            moved(&self.customer_patterns, epoch),
            moved(&self.rfm_analysis, epoch),
            moved(&self.cohort_analysis, epoch),
            moved(&self.customer_product_matrix, epoch),
            moved(&self.product_ranking, epoch),
            moved(&self.category_stats, epoch),
            moved(&self.product_features, epoch),
            moved(&self.order_anomalies, epoch),
            moved(&self.first_purchase_cohorts, epoch),
        ]
    }

    /// The number of updates of each table an epoch sent, those that cancel included.
    pub fn sent(&self, epoch: u64) -> [usize; 12] {
        [
            sent(&self.enriched_data, epoch),
            sent(&self.daily_sales, epoch),
            sent(&self.product_sales, epoch),
            sent(&self.customer_patterns, epoch),
            sent(&self.rfm_analysis, epoch),
            sent(&self.cohort_analysis, epoch),
            sent(&self.customer_product_matrix, epoch),
            sent(&self.product_ranking, epoch),
            sent(&self.category_stats, epoch),
            sent(&self.product_features, epoch),
            sent(&self.order_anomalies, epoch),
            sent(&self.first_purchase_cohorts, epoch),
        ]
    }
}

/// The number of updates an epoch sent, those that cancel included.
fn sent<R: Data>(updates: &Updates<R>, epoch: u64) -> usize {
    updates.lock().expect("no test panicked").iter().filter(|(_, time, _)| *time == epoch).count()
}

/// The rows after an epoch; each must have the diff 1.
fn rows<R: Data>(updates: &Updates<R>, epoch: u64) -> Vec<R> {
    let weights = weights(updates, |time| time <= epoch);
    weights.into_iter().inspect(|(row, weight)| assert_eq!(*weight, 1, "of {row:?}")).map(|(row, _)| row).collect()
}

fn moved<R: Data>(updates: &Updates<R>, epoch: u64) -> usize {
    weights(updates, |time| time == epoch).len()
}

fn weights<R: Data>(updates: &Updates<R>, counted: impl Fn(u64) -> bool) -> BTreeMap<R, isize> {
    let mut weights = BTreeMap::new();
    for (row, time, diff) in updates.lock().expect("no test panicked").iter() {
        if counted(*time) {
            *weights.entry(row.clone()).or_default() += diff;
        }
    }
    weights.retain(|_, weight| *weight != 0);
    weights
}

/// Runs the job of all tables over a history. Writes are distributed over the workers round-robin.
///
/// Up to `in_flight` epochs are sent before waiting for the first.
pub fn run<I: Id>(history: &History<I>, settings: &Settings, workers: usize, in_flight: u64) -> Recorded<I> {
    run_tables(history, settings, workers, in_flight, record)
}

/// As [`run`], with `daily_sales` alone.
pub fn run_daily_sales<I: Id>(
    history: &History<I>,
    settings: &Settings,
    workers: usize,
    in_flight: u64,
) -> Recorded<I> {
    run_tables(history, settings, workers, in_flight, |job, output| {
        let probe = Handle::new();
        keep(DailySalesTable.rows(job), &output.daily_sales, &probe);
        probe
    })
}

fn run_tables<I: Id>(
    history: &History<I>,
    settings: &Settings,
    workers: usize,
    in_flight: u64,
    record: impl Fn(&Job<'_, u64, I>, &Recorded<I>) -> Handle<u64> + Send + Sync + 'static,
) -> Recorded<I> {
    let recorded = Recorded::empty();
    let (output, history, settings) = (recorded.clone(), history.clone(), settings.clone());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut orders = InputHandle::new();
        let mut products = InputHandle::new();
        let mut customers = InputHandle::new();
        let mut models = InputHandle::new();
        let mut model_now = None;
        let probe = worker.dataflow(|scope| {
            let orders: StreamVec<'_, u64, Upsert<I, Order<I>>> = scope.input_from(&mut orders);
            let products = latest(scope.input_from(&mut products), "Products");
            let customers = latest(scope.input_from(&mut customers), "Customers");
            let models = scope.input_from(&mut models).as_collection();
            let shop = Shop { orders, products, customers, on_conflict: None, models: Some(models) };
            Job::build(shop, settings.clone(), |job| record(job, &output))
        });
        let (index, peers) = (worker.index(), worker.peers());
        let mine = |position: usize| position % peers == index;
        for (epoch, writes) in (0_u64..).zip(&history) {
            let next = writes.iter().rev().find_map(|write| match write {
                Write::Model(next) => Some(*next),
                _ => None,
            });
            if let Some(next) = next.filter(|_| index == 0) {
                models.send_batch(&mut model_now.map(|number| (model(number), epoch, -1)).into_iter().collect());
                models.send_batch(&mut next.map(|number| (model(number), epoch, 1)).into_iter().collect());
                model_now = next;
            }
            for (position, write) in writes.iter().enumerate().filter(|(position, _)| mine(*position)) {
                let at = Position::after(position as u64);
                match write.clone() {
                    Write::Order(id, row) => orders.send((id, at, row)),
                    Write::Product(id, row) => products.send((id, at, row)),
                    Write::Customer(id, row) => customers.send((id, at, row)),
                    Write::Model(_) => {}
                }
            }
            orders.advance_to(epoch + 1);
            products.advance_to(epoch + 1);
            customers.advance_to(epoch + 1);
            models.advance_to(epoch + 1);
            if (epoch + 1).is_multiple_of(in_flight) {
                worker.step_while(|| probe.less_than(&(epoch + 1)));
            }
        }
    });
    let results = guards.expect("workers start").join();
    results.into_iter().for_each(|result| result.expect("no worker panics"));
    recorded
}

fn record<I: Id>(job: &Job<'_, u64, I>, output: &Recorded<I>) -> Handle<u64> {
    let probe = Handle::new();
    keep(EnrichedDataTable.rows(job), &output.enriched_data, &probe);
    keep(DailySalesTable.rows(job), &output.daily_sales, &probe);
    keep(ProductSalesTable.rows(job), &output.product_sales, &probe);
    keep(CustomerPatternsTable.rows(job), &output.customer_patterns, &probe);
    keep(RfmAnalysisTable.rows(job), &output.rfm_analysis, &probe);
    keep(CohortAnalysisTable.rows(job), &output.cohort_analysis, &probe);
    keep(CustomerProductMatrixTable.rows(job), &output.customer_product_matrix, &probe);
    keep(ProductRankingTable.rows(job), &output.product_ranking, &probe);
    keep(CategoryStatsTable.rows(job), &output.category_stats, &probe);
    keep(ProductFeaturesTable.rows(job), &output.product_features, &probe);
    keep(OrderAnomaliesTable.rows(job), &output.order_anomalies, &probe);
    keep(FirstPurchaseCohortsTable.rows(job), &output.first_purchase_cohorts, &probe);
    probe
}

fn keep<R: Data>(table: VecCollection<'_, u64, R>, updates: &Updates<R>, probe: &Handle<u64>) {
    let updates = Arc::clone(updates);
    let kept = table.inspect(move |update| updates.lock().expect("no worker panicked").push(update.clone()));
    kept.probe_with(probe);
}
