//! Unusable and borderline input: the message names the problem, and nothing is written.

mod files;

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use files::{Shop, check, millstream, write_parquet};

/// Checks that the input is refused with these words, and that nothing was written.
fn refused(shop: &Shop, words: &[&str]) {
    check(&shop.run(&[]), 3, words);
    assert!(!shop.output().exists(), "nothing is written before the input is known to be good");
}

#[test]
fn a_missing_table_is_named_with_what_is_there() {
    let shop = Shop::small();
    fs::rename(shop.input().join("orders.csv"), shop.input().join("sales.csv")).expect("renamed");
    refused(&shop, &["no table orders", "sales.csv", "wanted a folder orders/"]);
    let nowhere = Shop::empty();
    fs::remove_dir(nowhere.input()).expect("removed");
    refused(&nowhere, &["there is no such folder"]);
}

#[test]
fn a_missing_column_is_named_with_those_there_are() {
    let shop = Shop::small();
    shop.write("orders.csv", "order_id,customer,product_id,order_date,quantity,discount\n1,1,1,2024-01-01,1,0\n");
    refused(&shop, &["orders.csv", "no column customer_id", "an integer or a string", "customer, product_id"]);
}

#[test]
fn a_page_that_expands_by_thousands_ends_in_an_error_and_not_in_the_kernel() {
    let shop = Shop::small();
    fs::remove_file(shop.input().join("products.csv")).expect("removed");
    // A thousand times the same text, which the dictionary of the file has once.
    let rows = 2_000;
    let ids = Int64Array::from_iter_values(0..rows);
    let prices = Int64Array::from_iter_values((0..rows).map(|_| 1));
    let text = Arc::new(StringArray::from_iter_values(["x".repeat(1 << 18)]));
    let keys = Int32Array::from_iter_values((0..rows).map(|_| 0));
    let text: ArrayRef = Arc::new(DictionaryArray::new(keys, text));
    let batch = RecordBatch::try_from_iter([
        ("product_id", Arc::new(ids) as ArrayRef),
        ("price", Arc::new(prices) as ArrayRef),
        ("category", text),
    ]);
    write_parquet(&shop, "products/p.parquet", &batch.expect("a batch"));
    let size = fs::metadata(shop.input().join("products/p.parquet")).expect("a file").len();
    assert!(size < 1 << 20, "{size} bytes");
    let done = shop.run(&["--memory-limit", "256MB"]);
    check(&done, 1, &["out of memory: the process takes", "and the limit is 262,144 KiB (--memory-limit)"]);
    assert!(!shop.output().join("daily_sales").exists());
    check(&shop.run(&["--memory-limit", "lots"]), 2, &["lots is not a size; wanted one such as 64MB"]);
}

#[test]
fn semicolons_and_addresses_are_called_what_they_are() {
    let shop = Shop::small();
    shop.write("orders.csv", "order_id;customer_id;product_id;order_date;quantity;discount\n1;1;1;2024-01-01;1;0\n");
    refused(&shop, &["orders.csv: columns are separated by semicolons, wanted commas"]);
    let done = millstream(&["run", "--input", "hdfs://host/shop", "--output", "out"]);
    let words = if cfg!(feature = "s3") { "wanted s3://BUCKET/FOLDER" } else { "wanted one with the feature s3" };
    check(&done, 2, &["hdfs://host/shop: ", words]);
}

#[test]
fn a_column_of_another_type_is_named_with_the_types_accepted() {
    let shop = Shop::small();
    fs::remove_file(shop.input().join("products.csv")).expect("removed");
    let ids = Arc::new(Int64Array::from(vec![1]));
    let text = Arc::new(StringArray::from(vec!["cheap"]));
    let batch =
        RecordBatch::try_from_iter([("product_id", ids as _), ("price", text.clone() as _), ("category", text as _)]);
    write_parquet(&shop, "products/p.parquet", &batch.expect("a batch"));
    refused(
        &shop,
        &["products/p.parquet", "column price has the type Utf8", "a float, a decimal", "product_id, price"],
    );
}

#[test]
fn a_file_that_is_cut_off_or_of_another_kind_is_named() {
    let shop = Shop::generated("0.001");
    let file = shop.input().join("orders/part-00000.parquet");
    let bytes = fs::read(&file).expect("a file");
    fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    refused(&shop, &["part-00000.parquet", "truncated"]);
    fs::write(&file, "no Parquet at all").expect("written");
    refused(&shop, &["part-00000.parquet", "not a Parquet file"]);
    fs::rename(&file, shop.input().join("orders/notes.txt")).expect("renamed");
    refused(&shop, &["notes.txt", "the extension .txt", ".parquet, .arrows, .csv, .jsonl, .ndjson, .json"]);
}

#[test]
fn a_file_whose_middle_is_damaged_leaves_the_former_tables() {
    let shop = Shop::generated("0.001");
    check(&shop.run(&[]), 0, &[]);
    let before = shop.files("enriched_data");
    let file = shop.input().join("orders/part-00000.parquet");
    let mut bytes = fs::read(&file).expect("a file");
    bytes[4..4000].fill(0xff);
    fs::write(&file, bytes).expect("written");
    check(&shop.run(&[]), 3, &["part-00000.parquet"]);
    assert_eq!(shop.files("enriched_data"), before);
}

#[test]
fn names_that_clash_are_prefixed_and_then_refused() {
    let shop = Shop::small();
    shop.write("products.csv", "product_id,category,price,channel\n10,A,1.0,p\n");
    check(&shop.run(&[]), 0, &[]);
    let schema = shop.read("enriched_data")[0].schema();
    assert!(schema.field_with_name("channel").is_ok() && schema.field_with_name("product_channel").is_ok());
    shop.write("products.csv", "product_id,category,price,channel,product_channel\n10,A,1.0,p,q\n");
    check(&shop.run(&[]), 3, &["products has a column channel", "product_channel is taken"]);
    shop.write("products.csv", "product_id,category,price,total_amount\n10,A,1.0,p\n");
    check(&shop.run(&[]), 3, &["total_amount", "computed"]);
}

#[test]
fn files_of_one_table_agree_on_their_columns() {
    let shop = Shop::small();
    fs::create_dir(shop.input().join("customers")).expect("a folder");
    fs::rename(shop.input().join("customers.csv"), shop.input().join("customers/a.csv")).expect("renamed");
    shop.write("customers/b.csv", "customer_id,city,vip\n9,12,true\n");
    check(&shop.run(&[]), 0, &[]);
    let type_of = |name: &str| {
        let schema = shop.read("enriched_data")[0].schema();
        schema.field_with_name(name).expect("a column").data_type().clone()
    };
    assert_eq!((type_of("vip"), type_of("city")), (DataType::Utf8, DataType::Utf8), "CSV has texts");
    let numbers = || Arc::new(Int64Array::from(vec![12])) as ArrayRef;
    let batch = |vip| RecordBatch::try_from_iter([("customer_id", numbers()), ("vip", vip)]).expect("a batch");
    write_parquet(&shop, "customers/c.parquet", &batch(numbers()));
    check(&shop.run(&[]), 0, &[]);
    assert_eq!(type_of("vip"), DataType::Utf8, "a text holds numbers, too");
    fs::remove_file(shop.input().join("customers/b.csv")).expect("removed");
    check(&shop.run(&[]), 0, &[]);
    assert_eq!(type_of("vip"), DataType::Int64);
    let flags = Arc::new(BooleanArray::from(vec![true]));
    write_parquet(&shop, "customers/d.parquet", &batch(flags));
    check(&shop.run(&[]), 3, &["customers/d.parquet", "column vip has the type Boolean, but Int64 in", "c.parquet"]);
    shop.write("customers.csv", "customer_id\n1\n");
    check(&shop.run(&[]), 3, &["customers.csv and", "wanted one of them"]);
}
