//! Tables. Each is one file with its row, key, columns and order, and how it is made from the job.
//!
//! ```text
//! Job ── rows ──▶ collection ── end ──▶ record batches, epoch by epoch ──▶ sinks
//! ```
//!
//! A table of your own implements [`Table`] and is added to a [`Catalog`]; see `examples/own_table.rs`.

mod catalog;
mod category_stats;
mod cohort_analysis;
mod customer_patterns;
mod customer_product_matrix;
mod daily_sales;
mod derived;
mod end;
mod enriched_data;
mod enriched_lookups;
mod first_purchase_cohorts;
mod layout;
mod lookups;
mod order_anomalies;
mod product_features;
mod product_ranking;
mod product_sales;
mod rejected;
mod rfm_analysis;
mod rows_end;
mod table;

pub use catalog::Catalog;
pub(crate) use catalog::{AnyTable, JobId};
pub use category_stats::{CategoryProducts, CategoryStats, CategoryStatsTable};
pub use cohort_analysis::{CohortAnalysisTable, CohortSize};
pub use customer_patterns::CustomerPatternsTable;
pub use customer_product_matrix::{CustomerProductMatrixTable, MatrixEntry};
pub use daily_sales::{DailySales, DailySalesTable};
pub(crate) use derived::Derived;
pub use derived::{DerivedColumn, OnFailure};
pub use end::TableColumn;
pub(crate) use end::{EndContext, EndOfTable, Left, TableEnd, Turn, Wanted};
pub use enriched_data::EnrichedDataTable;
pub use first_purchase_cohorts::{FirstPurchaseCohortsTable, NewCustomers};
pub use layout::Layout;
pub(crate) use lookups::LookupQueues;
pub use order_anomalies::{OrderAnomaliesTable, OrderAnomaly};
pub use product_features::{ProductFeatures, ProductFeaturesTable};
pub use product_ranking::{ProductRanking, ProductRankingTable, Standing};
pub use product_sales::ProductSalesTable;
pub(crate) use rejected::RejectedTable;
pub use rfm_analysis::{Rfm, RfmAnalysisTable};
pub(crate) use rows_end::rows_end;
pub use table::Table;
