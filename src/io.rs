//! Files and Arrow: record batches to rows, rows to record batches, and nothing else knows either.
//!
//! ```text
//! files ── schema ── read ── rows ──▶ dataflow ──▶ tables ── write ── publish
//! which    what      record  typed                 record    files    in one step
//! files    columns   batches rows                  batches
//!                       └──▶ rejected ────────────────────▶
//! ```

pub(crate) mod cells;
mod count;
pub(crate) mod derived;
pub(crate) mod files;
pub(crate) mod generate;
pub(crate) mod layout;
pub(crate) mod payload;
pub(crate) mod publish;
pub(crate) mod read;
pub(crate) mod rejected;
pub(crate) mod rows;
pub(crate) mod schema;
mod show;
pub(crate) mod tables;
pub(crate) mod write;

pub(crate) use count::count_rows;
pub use generate::{Generated, generate};
pub(crate) use show::Exact;
pub use show::Shown;
pub use write::{Codec, FileFormat, OutputFormat, Written};

use std::fmt;

/// One of the three tables that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputTable {
    /// `orders`
    Orders,
    /// `products`
    Products,
    /// `customers`
    Customers,
}

impl InputTable {
    /// All three, small ones first: the order in which they are read.
    pub const ALL: [InputTable; 3] = [InputTable::Products, InputTable::Customers, InputTable::Orders];

    /// The name of its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            InputTable::Orders => "orders",
            InputTable::Products => "products",
            InputTable::Customers => "customers",
        }
    }
}

impl fmt::Display for InputTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of the tables that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "a table is described where it is made, in `pipeline::Job`")]
pub enum OutputTable {
    EnrichedData,
    DailySales,
    ProductSales,
    CustomerPatterns,
    RfmAnalysis,
    CohortAnalysis,
    CustomerProductMatrix,
    ProductRanking,
    CategoryStats,
    ProductFeatures,
    OrderAnomalies,
}

impl OutputTable {
    /// All tables.
    pub const ALL: [OutputTable; 11] = [
        OutputTable::EnrichedData,
        OutputTable::DailySales,
        OutputTable::ProductSales,
        OutputTable::CustomerPatterns,
        OutputTable::RfmAnalysis,
        OutputTable::CohortAnalysis,
        OutputTable::CustomerProductMatrix,
        OutputTable::ProductRanking,
        OutputTable::CategoryStats,
        OutputTable::ProductFeatures,
        OutputTable::OrderAnomalies,
    ];

    /// The tables that are made where none are asked for.
    #[must_use]
    pub fn usual() -> Vec<OutputTable> {
        OutputTable::ALL[..7].to_vec()
    }

    /// The name of its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            OutputTable::EnrichedData => "enriched_data",
            OutputTable::DailySales => "daily_sales",
            OutputTable::ProductSales => "product_sales",
            OutputTable::CustomerPatterns => "customer_patterns",
            OutputTable::RfmAnalysis => "rfm_analysis",
            OutputTable::CohortAnalysis => "cohort_analysis",
            OutputTable::CustomerProductMatrix => "customer_product_matrix",
            OutputTable::ProductRanking => "product_ranking",
            OutputTable::CategoryStats => "category_stats",
            OutputTable::ProductFeatures => "product_features",
            OutputTable::OrderAnomalies => "order_anomalies",
        }
    }

    /// The columns that tell its rows apart.
    #[must_use]
    pub const fn key(self) -> &'static [&'static str] {
        match self {
            OutputTable::EnrichedData | OutputTable::OrderAnomalies => &["order_id"],
            OutputTable::DailySales => &["order_date"],
            OutputTable::ProductSales | OutputTable::ProductRanking | OutputTable::ProductFeatures => &["product_id"],
            OutputTable::CategoryStats => &["category"],
            OutputTable::CustomerPatterns | OutputTable::RfmAnalysis => &["customer_id"],
            OutputTable::CohortAnalysis => &["cohort_month"],
            OutputTable::CustomerProductMatrix => &["customer_id", "rank"],
        }
    }
}
