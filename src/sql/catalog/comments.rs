//! What each table is, for those who ask the catalog.

/// What a table is; nothing is said of a program's own.
pub(crate) fn comment(table: &str) -> &'static str {
    match table {
        "category_stats" => "Statistics of the prices and order lines of each category, and its products and brands.",
        "cohort_analysis" => "The customers who bought in each month.",
        "customer_patterns" => "Orders, spending and the first and last purchase of each customer.",
        "customer_product_matrix" => "The latest orders of each customer, ranked.",
        "daily_sales" => "Revenue, customers and mean order of each day.",
        "enriched_data" => "Each order with its customer and product. Kept nowhere: joined when it is read.",
        "epochs" => "The epochs whose changes are kept; is_read marks the one that this transaction reads.",
        "first_purchase_cohorts" => "The customers who bought for the first time in each month.",
        "lag" => "How many seconds the tables, and what each sink has, are behind.",
        "order_anomalies" => "The unit price and anomaly score of each order.",
        "product_features" => "The cleaned name, price category and parsed metadata of each product.",
        "product_ranking" => "The rank of each product in its category.",
        "product_sales" => "Revenue, quantity and orders of each product.",
        "rejected" => "Rows that could not be used, and why.",
        "rfm_analysis" => "Recency, frequency and monetary value of each customer, and their scores.",
        "sinks" => "Where tables go, and how it goes.",
        "sources" => "Where rows come from, and how it goes.",
        _ => "",
    }
}
