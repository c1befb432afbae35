//! A config built in code: what it sets reaches the job, and what is invalid is refused before anything is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use millstream::columns::InputSchema;
use millstream::config::JobConfig;
use millstream::error::{ErrorKind, Result};
use millstream::model::{Day, InputTable, PriceCategories};
use millstream::runtime::{Live, Progress, run_with};
use millstream::sinks::MemoryTables;
use millstream::sources::{BatchSource, Source, SourceBatches, Split};
use millstream::tables::{Catalog, DerivedColumn};

fn ids(ids: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(ids.to_vec()))
}

/// One order, of a product that costs 5.
fn source() -> BatchSource {
    let batch = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).expect("a batch");
    let orders = batch(vec![
        ("order_id", ids(&[1])),
        ("customer_id", ids(&[7])),
        ("product_id", ids(&[2])),
        ("order_date", Arc::new(Date32Array::from(vec![19_844]))),
        ("quantity", ids(&[1])),
        ("discount", Arc::new(Float64Array::from(vec![0.0]))),
    ]);
    let products = batch(vec![
        ("product_id", ids(&[2])),
        ("price", Arc::new(Float64Array::from(vec![5.0]))),
        ("category", Arc::new(StringArray::from(vec!["Drinks"]))),
    ]);
    let customers = batch(vec![("customer_id", ids(&[7]))]);
    let [of_orders, of_products, of_customers] = [orders.schema(), products.schema(), customers.schema()];
    let source =
        BatchSource::new((&of_orders, vec![orders]), (&of_products, vec![products]), (&of_customers, vec![customers]));
    source.expect("the columns are there")
}

fn config() -> JobConfig {
    JobConfig::new(Day::from_ymd(2024, 12, 31).expect("a day"))
}

#[test]
fn price_categories_set_in_code_reach_the_table_and_the_function() {
    let mut config = config();
    let cheap = ("cheap".into(), "5.01".parse().expect("a price"));
    let categories = PriceCategories::new(vec![cheap], "dear".into(), "unknown".into());
    config.settings.price_categories = categories.expect("categories");
    config.tables = Catalog::standard().select(&["enriched_data", "product_features"]).expect("tables");
    config.derived.push(DerivedColumn {
        table: "enriched_data".into(),
        name: "price_category".into(),
        function: "categorize_price".into(),
        columns: vec!["price".into()],
        on_failure: None,
        memory_bytes: None,
    });
    let tables = MemoryTables::of(&["enriched_data", "product_features"]);
    let sinks = vec![Box::new(tables.clone()) as _];
    run_with(&config, Arc::new(source()), sinks, &Arc::new(Progress::default())).expect("the job is done");
    for table in ["enriched_data", "product_features"] {
        let (_, rows) = tables.read(table).expect("the table is made");
        let categories = rows.column_by_name("price_category").expect("a column");
        assert_eq!(categories.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("cheap")], "{table}");
    }
}

/// A source that is not read.
struct Unread(BatchSource);

impl Source for Unread {
    fn schema(&self, table: InputTable) -> &InputSchema {
        self.0.schema(table)
    }

    fn splits(&self) -> Vec<Split> {
        self.0.splits()
    }

    fn read(&self, split: &Split, _: usize) -> Result<SourceBatches<'_>> {
        panic!("{} is read", split.table)
    }

    fn fingerprint(&self) -> Result<BTreeMap<String, String>> {
        self.0.fingerprint()
    }
}

#[test]
fn an_invalid_config_is_refused_before_the_source_is_read() {
    let mut config = config();
    config.anomaly.save_model = Some("model.json".into());
    let progress = Arc::new(Progress::default());
    let of_run = run_with(&config, Arc::new(Unread(source())), Vec::new(), &progress).expect_err("no model");
    let of_live = Live::start(&config, Arc::new(Unread(source())), Vec::new(), &progress).err().expect("no model");
    for error in [of_run, of_live] {
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().starts_with("save_model: no model is trained"), "{error}");
    }
}
