//! Data as shops have them: order lines, percentages, other dates and dialects, days on which a column is empty.

mod files;

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Int8Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampSecondArray,
};
use arrow::datatypes::DataType;
use files::{Done, Shop, as_json, check, millstream, write_parquet};
use flate2::write::GzEncoder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use serde_json::Value;

const PRODUCTS: &str = "product_id,price,category\n1,10.00,A\n2,99.99,B\n";
const HEADER: &str = "order_id,customer_id,product_id,order_date,quantity,discount\n";

/// A shop with these orders, two products and a customer.
fn shop(orders: &str) -> Shop {
    let shop = Shop::empty();
    shop.write("products.csv", PRODUCTS);
    shop.write("customers.csv", "customer_id\n1\n");
    shop.write("orders.csv", orders);
    shop
}

fn configured(shop: &Shop, config: &str) -> Done {
    let path = shop.path("config.yaml");
    fs::write(&path, config).expect("written");
    shop.run(&["--config", path.to_str().expect("text")])
}

/// The rows of a table, each a JSON object.
fn rows(shop: &Shop, table: &str) -> Vec<Value> {
    let rows = shop.read(table).iter().flat_map(as_json).collect::<Vec<_>>();
    rows.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

/// The type of a column of `enriched_data`.
fn type_of(shop: &Shop, column: &str) -> DataType {
    let file =
        fs::File::open(shop.output().join("enriched_data").join(&shop.files("enriched_data")[0])).expect("a file");
    let schema = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).expect("Parquet").schema().clone();
    schema.field_with_name(column).expect("a column").data_type().clone()
}

#[test]
fn an_empty_file_is_a_day_without_orders_but_not_a_table_without_rows() {
    let shop = shop(&format!("{HEADER}1,1,1,2024-12-31,1,0\n"));
    check(&shop.run(&[]), 0, &[]);
    for empty in ["", "\n"] {
        shop.write("orders.csv", empty);
        check(&shop.run(&[]), 3, &["orders.csv: has no columns, wanted order_id, "]);
    }
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    shop.write("orders/monday.csv", "");
    shop.write("orders/tuesday.json", "");
    check(&shop.run(&[]), 3, &["orders/monday.csv: has no columns, as all files of this table, wanted order_id, "]);
    assert_eq!(rows(&shop, "enriched_data").len(), 1, "the former tables are there");
    shop.write("orders/wednesday.csv", &format!("{HEADER}2,1,1,2024-12-31,1,0\n3,1,1,2024-12-31,1,0\n"));
    check(&shop.run(&[]), 0, &[]);
    assert_eq!(rows(&shop, "enriched_data").len(), 2);
}

#[test]
fn a_job_that_uses_none_of_its_data_is_no_success() {
    let shop = shop(&format!("{HEADER}1,1,1,2024-12-31,1,0\n"));
    check(&shop.run(&[]), 0, &[]);
    let before = shop.files("daily_sales");
    let german: String = (1..=9).map(|id| format!("{id},1,1,31.12.2024,1,0\n")).collect();
    shop.write("orders.csv", &format!("{HEADER}{german}10,1,1,2024-12-31,1,0\n"));
    let reason = "9 × orders: order_date is not an ISO 8601 date in the years 1 to 9999 (orders.csv row 1: order_date \
                  31.12.2024 is not";
    check(&shop.run(&[]), 3, &["orders: 9 of 10 rows rejected", "max_rejected_share", reason]);
    assert_eq!(shop.files("daily_sales"), before, "the former tables are there");
    let validated = millstream(&["validate", "input", shop.input().to_str().expect("text")]);
    assert!(validated.status == 3 && validated.stdout.contains("FAIL  orders has usable rows"), "{validated:?}");
    assert!(validated.stdout.contains(reason), "{validated:?}");
    let tolerant = shop.run(&["--max-rejected-share", "0.9"]);
    check(&tolerant, 0, &[]);
    assert!(tolerant.stdout.contains(&format!("rejected\n  {reason}")), "{tolerant:?}");
    check(&configured(&shop, "date_format: '%d.%m.%Y'"), 0, &[]);
    assert_eq!(rows(&shop, "daily_sales")[0]["daily_revenue"], 90.0);
    check(
        &configured(&shop, "date_format: '%d.%m.'"),
        2,
        &["date_format: %d.%m. has an unknown letter or a zone, or lacks the year"],
    );
    check(&shop.run(&["--max-rejected-share", "2"]), 2, &["max_rejected_share: found 2, wanted a share from 0 to 1"]);
}

#[test]
fn an_order_may_have_lines() {
    let header = HEADER.replace("order_id", "order_id,line");
    let shop =
        shop(&format!("{header}1,1,1,1,2024-01-01,2,0\n1,2,1,2,2024-01-01,1,0.1\n1,2,1,2,2024-01-01,1,0\n,3,1,1,,,\n"));
    let alone = shop.run(&[]);
    check(&alone, 0, &[]);
    let note = "2 × orders: replaced by another row of the same order_id; 1 ids have rows that differ, such as 1. If a \
                column tells which row is the last, name it: version: {orders: COLUMN}. If they are lines of orders";
    assert!(alone.stdout.contains(note), "{alone:?}");
    let joined = "columns: {orders: {order_id: [order_id, line]}}";
    check(&configured(&shop, joined), 0, &[]);
    let mut lines = rows(&shop, "enriched_data");
    lines.sort_by_key(|line| line["order_id"].to_string());
    let ids: Vec<_> = lines.iter().map(|line| (line["order_id"].as_str(), line["line"].as_str())).collect();
    assert_eq!(ids, [(Some("1/1"), Some("1")), (Some("1/2"), Some("2"))]);
    assert_eq!(rows(&shop, "daily_sales")[0]["daily_revenue"], 119.99);
    assert_eq!(rows(&shop, "rejected")[0]["reason"], "order_id is null");
    check(
        &configured(&shop, "columns: {orders: {order_id: [order_id, lines]}}"),
        3,
        &["no column lines, which the config"],
    );
    // A part may be the name of a folder.
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    shop.write("orders/branch=7/1.csv", &format!("{HEADER}1,1,1,2024-01-01,1,0\n"));
    shop.write("orders/branch=8/1.csv", &format!("{HEADER}1,1,1,2024-01-01,1,0\n"));
    check(&configured(&shop, "columns: {orders: {order_id: [branch, order_id]}}"), 0, &[]);
    let lines = rows(&shop, "enriched_data");
    let mut ids: Vec<_> = lines.iter().map(|line| line["order_id"].as_str().unwrap_or_default()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["7/1", "8/1"]);
    check(
        &configured(&shop, "columns: {orders: {quantity: [a, b]}}"),
        2,
        &["columns.orders.quantity: a list is for an id"],
    );
}

#[test]
fn a_version_decides_which_row_of_an_id_is_the_last() {
    // Texts, where the order of the files says the opposite; two rows with one version; a version that is none; rows
    // without one.
    let header = HEADER.replace('\n', ",updated_at\n");
    let rows_of = |lines: &[&str]| lines.iter().fold(header.clone(), |text, line| text + line + "\n");
    let shop = shop("");
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    shop.write(
        "orders/1.csv",
        &rows_of(&[
            "1,1,1,2024-01-01,11,0,2024-03-01T10:00:00+02:00",
            "1,1,1,2024-01-01,12,0,2024-03-01T08:30:00Z",
            "2,1,1,2024-01-01,21,0,2024-03-01",
            "2,1,1,2024-01-01,22,0,2024-03-01 00:00:00",
            "3,1,1,2024-01-01,31,0,",
            "4,1,1,2024-01-01,41,0,lately",
            "5,1,1,2024-01-01,51,0,2.0",
            "5,1,1,2024-01-01,52,0,1",
            "6,1,1,2024-01-01,1,0,1.5",
        ]),
    );
    shop.write("orders/2.csv", &rows_of(&["1,1,1,2024-01-01,13,0,2024-03-01 08:29", "3,1,1,2024-01-01,32,0,"]));
    check(&configured(&shop, "version: updated_at"), 0, &[]);
    let quantities = |shop: &Shop| {
        let rows = rows(shop, "enriched_data");
        let mut rows: Vec<_> = rows.iter().map(|row| (row["order_id"].as_i64(), row["quantity"].as_i64())).collect();
        rows.sort_unstable();
        rows.into_iter().map(|(id, quantity)| (id.expect("an id"), quantity.expect("one"))).collect::<Vec<_>>()
    };
    assert_eq!(quantities(&shop), [(1, 12), (2, 22), (3, 32), (5, 51)]);
    let mut reasons: Vec<_> = rows(&shop, "rejected").iter().map(|row| row["reason"].to_string()).collect();
    reasons.sort();
    let wrong = ["1.5", "lately"].map(|text| format!("\"version {text} is neither an integer nor a date or time\""));
    assert_eq!(reasons, wrong);
    // Also where the column itself is not needed.
    check(&configured(&shop, "version: {orders: updated_at}\ntables: [daily_sales]"), 0, &[]);
    assert_eq!(rows(&shop, "daily_sales")[0]["daily_revenue"], 1170.0);
    check(&configured(&shop, "version: ''"), 2, &["version: wanted the name of a column"]);
    check(&configured(&shop, "version: [a]"), 2, &["wanted a column, or a column for each table"]);
    check(&configured(&shop, "version: changed"), 3, &["no column changed, which the config maps to version; it has"]);
    check(&configured(&shop, "version: {products: updated_at}"), 3, &["products.csv: no column updated_at"]);
    check(&configured(&shop, "version: {order: a}"), 2, &["version: no table order; wanted orders, products or"]);

    // The same as numbers and as instants, in Parquet.
    fs::remove_dir_all(shop.input().join("orders")).expect("removed");
    let ids = |ids: &[i64]| Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef;
    let micros = |values: &[i64]| Arc::new(TimestampMicrosecondArray::from(values.to_vec())) as ArrayRef;
    let seconds = |values: &[i64]| Arc::new(TimestampSecondArray::from(values.to_vec())) as ArrayRef;
    let days = Arc::new(Date32Array::from(vec![19_723; 3])) as ArrayRef;
    for (first, second) in
        [(ids(&[9, 10, 11]), ids(&[10, 9, 11])), (micros(&[9_000_000, 10_000_000, 11_000_000]), seconds(&[10, 9, 11]))]
    {
        for (name, versions, quantity) in [("a", first, 1), ("b", second, 2)] {
            let orders = RecordBatch::try_from_iter([
                ("order_id", ids(&[1, 2, 3])),
                ("customer_id", ids(&[1; 3])),
                ("product_id", ids(&[1; 3])),
                ("order_date", Arc::clone(&days)),
                ("quantity", ids(&[quantity; 3])),
                ("discount", ids(&[0; 3])),
                ("version", versions),
            ]);
            write_parquet(&shop, &format!("orders/{name}.parquet"), &orders.expect("a batch"));
        }
        check(&configured(&shop, "version: version"), 0, &[]);
        assert_eq!(quantities(&shop), [(1, 2), (2, 1), (3, 2)]);
    }
}

#[test]
fn a_row_may_delete_its_id() {
    let header = HEADER.replace('\n', ",_op\n");
    let shop = shop(&format!(
        "{header}1,1,1,2024-01-01,1,0,c\n2,1,1,2024-01-01,1,0,\n1,,,,,,d\n3,1,1,2024-01-01,1,0,r\n3,,,x,,,d\n\
         3,1,1,2024-01-01,5,0,u\n4,1,1,2024-01-01,1,0,x\n,,,,,,d\n5,,,,,,d\n"
    ));
    let done = shop.run(&[]);
    check(&done, 0, &[]);
    let mut orders = rows(&shop, "enriched_data");
    orders.sort_by_key(|order| order["order_id"].as_i64());
    let found: Vec<_> = orders.iter().map(|order| (order["order_id"].as_i64(), order["quantity"].as_i64())).collect();
    assert_eq!(found, [(Some(2), Some(1)), (Some(3), Some(5))]);
    assert!(!orders[0].as_object().expect("a row").contains_key("_op"), "it is not carried");
    let mut reasons: Vec<_> = rows(&shop, "rejected").iter().map(|row| row["reason"].to_string()).collect();
    reasons.sort();
    assert_eq!(reasons, ["\"_op x is no operation: wanted c, u, r, d or null\"", "\"order_id is null\""]);
    assert!(
        done.stdout.contains("3 × orders: _op is d, a delete") && !done.stdout.contains("rows that differ"),
        "{done:?}"
    );
    // With versions, a delete that is older than the row counts as little as any other row.
    let header = header.replace('\n', ",v\n");
    shop.write(
        "orders.csv",
        &format!("{header}1,1,1,2024-01-01,1,0,,2\n1,,,,,,d,1\n2,,,,,,d,2\n2,1,1,2024-01-01,1,0,,1\n"),
    );
    check(&configured(&shop, "version: v"), 0, &[]);
    assert_eq!(rows(&shop, "enriched_data").iter().map(|row| row["order_id"].as_i64()).collect::<Vec<_>>(), [Some(1)]);
}

#[test]
fn the_order_of_files_can_be_stated() {
    let shop = Shop::small();
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    for (name, quantity, seconds) in [("day-10", 10, 2), ("day-9", 9, 1), ("day-11", 11, 0)] {
        shop.write(&format!("orders/{name}.csv"), &format!("{HEADER}1,1,1,2024-01-01,{quantity},0\n"));
        let file = fs::File::options().write(true).open(shop.input().join(format!("orders/{name}.csv")));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds);
        file.and_then(|file| file.set_modified(time)).expect("its time is set");
    }
    for (order, quantity) in [("natural", 11), ("name", 9), ("Modified", 10)] {
        check(&configured(&shop, &format!("file_order: {order}")), 0, &[]);
        assert_eq!(rows(&shop, "enriched_data")[0]["quantity"], quantity, "{order}");
    }
    check(&configured(&shop, "file_order: size"), 2, &["unknown value size, wanted one of natural, name, modified"]);
}

#[test]
fn nulls_that_were_filled_and_discounts_above_one_are_noted() {
    let shop = shop(&format!("{HEADER}1,1,1,2024-01-01,,10\n2,1,1,2024-01-01,,20\n3,1,1,2024-01-01,1,\n"));
    let fractions = shop.run(&[]);
    check(&fractions, 0, &[]);
    for note in [
        "2 × orders: quantity is null, taken as 1",
        "1 × orders: discount is null, taken as 0",
        "2 × orders: discount is above 1, that is 100 %; if discounts are percentages, set discount: percent",
    ] {
        assert!(fractions.stdout.contains(note), "{note} in {fractions:?}");
    }
    let percent = configured(&shop, "discount: percent");
    assert!(!percent.stdout.contains("above 1"), "{percent:?}");
    assert_eq!(rows(&shop, "daily_sales")[0]["daily_revenue"], 27.0);
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    let one = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let date = Arc::new(StringArray::from(vec!["2024-01-01"])) as ArrayRef;
    let discount = Decimal128Array::from(vec![1250]).with_precision_and_scale(5, 2).expect("fits");
    let orders = RecordBatch::try_from_iter([
        ("order_id", one()),
        ("customer_id", one()),
        ("product_id", one()),
        ("order_date", date),
        ("quantity", one()),
        ("discount", Arc::new(discount) as ArrayRef),
    ]);
    write_parquet(&shop, "orders/o.parquet", &orders.expect("a batch"));
    check(&configured(&shop, "discount: percent"), 0, &[]);
    assert_eq!(type_of(&shop, "discount"), DataType::Decimal128(38, 4), "a fraction needs more places");
    let enriched = rows(&shop, "enriched_data");
    assert_eq!((&enriched[0]["discount"], &enriched[0]["total_amount"]), (&0.125.into(), &8.75.into()));
}

#[test]
fn csv_has_dialects_and_may_be_compressed() {
    let shop = shop("");
    let plain = format!("{HEADER}1,1,1,2024-01-01,2,0\n2,1,2,2024-01-02,1,0\n").replace("order_id", "order_id,note");
    let lines: Vec<_> = plain.lines().map(|line| line.replacen(',', ",'it\\'s; fine',", 1).replace(',', ";")).collect();
    let text = lines.join("\n").replace(";'it\\'s; fine';note;", ";note;").replace(";2;0", ";2;NULL");
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    fs::create_dir(shop.input().join("orders")).expect("made");
    let file = fs::File::create(shop.input().join("orders/a.csv.gz")).expect("created");
    GzEncoder::new(file, flate2::Compression::default()).write_all(text.as_bytes()).expect("written");
    let separated = &["orders/a.csv.gz: columns are separated by semicolons", "csv: {delimiter: \";\"}"];
    check(&shop.run(&[]), 3, separated);
    for table in ["products", "customers"] {
        let name = format!("{table}.csv");
        let text = fs::read_to_string(shop.input().join(&name)).expect("text").replace(',', ";");
        shop.write(&name, &text);
    }
    check(&configured(&shop, "csv: {delimiter: \";\", quote: \"'\", escape: \"\\\\\", nulls: [\"NULL\"]}"), 0, &[]);
    let rows = rows(&shop, "enriched_data");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row["note"] == "it's; fine" && row["discount"] == 0.0), "{rows:?}");
    check(
        &configured(&shop, "csv: {delimiter: \";;\"}"),
        2,
        &["csv.delimiter: found \";;\", wanted one ASCII character"],
    );
    check(
        &configured(&shop, "csv: {delimiter: \"'\", quote: \"'\"}"),
        2,
        &["csv: delimiter, quote and escape must differ"],
    );
}

#[test]
fn a_quote_that_is_not_closed_is_an_error_and_not_one_long_order() {
    let orders: String = (2..500).map(|id| format!("{id},1,1,2024-01-01,1,0\n")).collect();
    let shop = shop(&format!("{HEADER}1,\"1,1,2024-01-01,1,0\n{orders}"));
    check(&shop.run(&[]), 3, &["orders.csv: line 2: a quoted field that is not closed before the end of the file"]);
    assert!(shop.tables().is_empty());
    shop.write(
        "orders.csv",
        &format!("{HEADER}1,1,1,2024-01-01,1,0\n2,\"1,1,2024-01-01,1,0\n3,1,\"1,2024-01-01,1,0\n"),
    );
    check(&shop.run(&[]), 0, &[]);
    let reason = rows(&shop, "rejected")[0]["reason"].to_string();
    assert!(reason.contains("the record has 2 lines from line 3 on: is a quote missing?"), "{reason}");
    let long = format!("{HEADER}1,\"{}\n", "x,y\n".repeat(5 << 20));
    shop.write("orders.csv", &long);
    check(&shop.run(&[]), 3, &["orders.csv: line 2: a record of more than 16777216 bytes; is a quote missing?"]);
}

#[test]
fn types_depend_on_no_value() {
    let full = shop(&format!("{HEADER}1,1,1,2024-01-01,1,0.5\n"));
    check(&full.run(&[]), 0, &[]);
    for orders in
        [format!("{HEADER}1,,,,,\n"), HEADER.to_owned(), format!("{HEADER}1,1,1,2024-01-01,x,true\n2,1,1,,,\n")]
    {
        let other = shop(&orders);
        check(&other.run(&[]), 0, &[]);
        for column in ["order_id", "customer_id", "product_id", "order_date", "quantity", "discount"] {
            assert_eq!(type_of(&other, column), type_of(&full, column), "{column} of {orders}");
        }
    }
    fs::remove_file(full.input().join("orders.csv")).expect("removed");
    for line in [r#"{"order_id":1,"order_date":null}"#, r#"{"order_id":1,"quantity":true}"#, r#"{"order_id":1}"#] {
        let all =
            r#"{"order_id":2,"customer_id":1,"product_id":1,"order_date":"2024-01-01","quantity":1,"discount":0}"#;
        let nulls = r#"{"customer_id":null,"product_id":null,"order_date":null,"quantity":null,"discount":null}"#;
        full.write("orders.json", &format!("\u{feff}{nulls}\n{line}\n{all}\n{}\n", all.replace('2', "3")));
        check(&full.run(&["--max-rejected-share", "1"]), 0, &[]);
        assert_eq!(type_of(&full, "order_date"), DataType::Date32);
        assert_eq!(type_of(&full, "quantity"), DataType::Int64);
    }
}

#[test]
fn ids_are_written_with_a_type_that_holds_all() {
    let shop = shop("");
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    fs::remove_file(shop.input().join("products.csv")).expect("removed");
    let small = |values: Vec<i8>| Arc::new(Int8Array::from(values)) as ArrayRef;
    let dates = Arc::new(StringArray::from(vec!["2024-01-01"])) as ArrayRef;
    let zeros = Arc::new(Decimal128Array::from(vec![0]).with_precision_and_scale(3, 2).expect("fits")) as ArrayRef;
    let orders = RecordBatch::try_from_iter([
        ("order_id", small(vec![1])),
        ("customer_id", small(vec![1])),
        ("product_id", small(vec![1])),
        ("order_date", dates),
        ("quantity", small(vec![1])),
        ("discount", zeros),
    ]);
    write_parquet(&shop, "orders/o.parquet", &orders.expect("a batch"));
    let price = |precision, value| {
        let prices = Decimal128Array::from(vec![value]).with_precision_and_scale(precision, 2).expect("fits");
        Arc::new(prices) as ArrayRef
    };
    let category = || Arc::new(StringArray::from(vec!["A"])) as ArrayRef;
    for (file, id, price) in [("a", 1, price(10, 1050)), ("b", 3000, price(12, 99))] {
        let ids = Arc::new(Int64Array::from(vec![id])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("product_id", ids), ("price", price), ("category", category())]);
        write_parquet(&shop, &format!("products/{file}.parquet"), &batch.expect("a batch"));
    }
    check(&shop.run(&["--tables", "all"]), 0, &[]);
    assert_eq!(type_of(&shop, "product_id"), DataType::Int64);
    assert_eq!(type_of(&shop, "total_amount"), DataType::Decimal128(38, 8), "money of decimals is decimal");
    assert_eq!(rows(&shop, "product_features").len(), 2);
}

#[test]
fn ids_that_a_program_wrote_as_floats_are_the_integers_they_are() {
    let shop = shop(&format!("{HEADER}1,1.0,1.0,2024-01-01,1,0\n2,,2.0,2024-01-01,1,0\n"));
    check(&shop.run(&[]), 0, &[]);
    assert_eq!(type_of(&shop, "customer_id"), DataType::Int64);
    assert_eq!(rows(&shop, "daily_sales")[0]["daily_revenue"], 109.99);
    shop.write("products.csv", &format!("{PRODUCTS}X9,1,A\n"));
    check(&shop.run(&[]), 0, &[]);
    assert_eq!(rows(&shop, "daily_sales")[0]["daily_revenue"], 109.99, "also beside ids that are texts");
}

#[test]
fn columns_of_nulls_are_null_and_days_are_days() {
    let shop = shop("");
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    fs::copy("tests/corpus/nulls.parquet", shop.input().join("orders.parquet")).expect("copied");
    check(&shop.run(&[]), 0, &[]);
    assert_eq!(rows(&shop, "customer_patterns")[0]["total_orders"], 2, "guests");
    assert_eq!(type_of(&shop, "shipped"), DataType::Date32);
    assert_eq!(rows(&shop, "enriched_data")[1]["shipped"], "1970-01-02");
}

#[test]
fn the_ninth_day_is_before_the_tenth() {
    let shop = shop("");
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    for day in [1, 2, 9, 10] {
        shop.write(&format!("orders/day-{day}.csv"), &format!("{HEADER}1,1,1,2024-01-01,{day},0\n"));
    }
    check(&shop.run(&[]), 0, &[]);
    assert_eq!(rows(&shop, "product_sales")[0]["total_quantity"], 10);
}

#[test]
fn a_json_line_of_another_shape_is_a_text_or_a_rejected_row() {
    let shop = shop("");
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    let line = |id: u32, rest: &str| {
        let known = r#""customer_id":1,"product_id":1,"order_date":"2024-01-01","discount":0"#;
        format!("{{\"order_id\":{id},{known},{rest}}}\n")
    };
    let lines = [
        line(1, r#""quantity":1,"note":"x","big":9223372036854775813,"tags":["a"]"#),
        line(2, r#""quantity":1,"note":{"a":1},"big":1,"tags":null"#),
        line(3, r#""quantity":{"of":1},"note":null,"big":0.5,"tags":[]"#),
    ];
    shop.write("orders.jsonl", &lines.concat());
    check(&shop.run(&[]), 0, &[]);
    let mut orders = rows(&shop, "enriched_data");
    orders.sort_by_key(|order| order["order_id"].as_i64());
    assert_eq!((&orders[0]["note"], &orders[1]["note"]), (&"x".into(), &r#"{"a":1}"#.into()));
    assert_eq!((&orders[0]["big"], &orders[1]["big"]), (&"9223372036854775813".into(), &"1".into()));
    assert_eq!(orders[0]["tags"], serde_json::json!(["a"]));
    let reasons = rows(&shop, "rejected");
    assert_eq!(reasons[0]["reason"], "quantity is an object or a list, wanted one value");
    let lines = [
        line(1, r#""quantity":1,"at":{"x":1},"tags":["a",1]"#),
        line(2, r#""quantity":1,"at":{"x":"y"},"tags":[true]"#),
        line(3, r#""quantity":1,"note":"a\ud800""#),
    ];
    shop.write("orders.jsonl", &lines.concat());
    check(&shop.run(&[]), 0, &[]);
    let mut orders = rows(&shop, "enriched_data");
    orders.sort_by_key(|order| order["order_id"].as_i64());
    assert_eq!((&orders[0]["at"]["x"], &orders[0]["tags"]), (&"1".into(), &serde_json::json!(["a", "1"])));
    assert!(rows(&shop, "rejected")[0]["reason"].to_string().contains("not JSON: "), "half a character is none");
    let lines = [
        line(1, r#""quantity":1,"a":[1],"b":{},"c":{"x":1},"d":1e400"#),
        line(2, r#""quantity":1,"a":[1e400],"b":[{}],"c":{"x":[1]},"d":2"#),
        line(3, &format!("\"quantity\":1,\"a\":{}1{}", "[".repeat(130), "]".repeat(130))),
    ];
    shop.write("orders.jsonl", &lines.concat());
    check(&shop.run(&[]), 0, &[]);
    let mut orders = rows(&shop, "enriched_data");
    orders.sort_by_key(|order| order["order_id"].as_i64());
    assert_eq!((&orders[0]["a"], &orders[1]["a"]), (&"[1]".into(), &"[1e400]".into()), "as they are written");
    assert_eq!(
        (&orders[0]["b"], &orders[1]["c"], &orders[0]["d"]),
        (&"{}".into(), &r#"{"x":[1]}"#.into(), &"1e400".into())
    );
    fs::remove_file(shop.input().join("orders.jsonl")).expect("removed");
    shop.write("orders/a.json", "");
    shop.write("orders/b.csv", "");
    shop.write("orders/c.json", "{\"order_id\":1,\"product_id\":1,\"order_date\":\"2024-01-01\"}\n");
    check(&shop.run(&[]), 0, &[]);
    assert_eq!(rows(&shop, "daily_sales")[0]["daily_revenue"], 10.0, "keys that are nowhere are null");
    shop.write("orders/c.json", "{\"order\":1,\"product_id\":1}\n");
    check(&shop.run(&[]), 3, &["c.json: no column order_id, wanted"]);
    fs::remove_dir_all(shop.input().join("orders")).expect("removed");
    shop.write("orders.json", "[\n  {\"order_id\": 1}\n]\n");
    check(&shop.run(&[]), 3, &["orders.json: found a JSON array, wanted one JSON object per line"]);
}

#[test]
fn links_and_pipes_end_a_search_for_files() {
    let shop = shop("");
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    shop.write("orders/a.csv", &format!("{HEADER}1,1,1,2024-01-01,1,0\n"));
    for name in ["one", "two"] {
        std::os::unix::fs::symlink(".", shop.input().join("orders").join(name)).expect("linked");
    }
    check(&shop.run(&[]), 0, &["is read already, under another name"]);
    assert_eq!(rows(&shop, "enriched_data").len(), 1);
    let pipe = shop.input().join("orders/b.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    check(&shop.run(&[]), 3, &["b.csv: neither a file nor a folder, but a pipe, socket or device"]);
}

#[test]
fn folders_that_one_run_writes_and_another_reads_are_refused() {
    let shop = Shop::small();
    let (input, within) = (shop.input(), shop.input().join("orders/tables"));
    let (input, within) = (input.to_str().expect("text"), within.to_str().expect("text"));
    let done = millstream(&["run", "--input", input, "--output", within]);
    check(&done, 2, &["is in the input folder", "whose files are read; choose another output"]);
    let above = shop.path("");
    let done = millstream(&["run", "--input", input, "--output", above.to_str().expect("text")]);
    check(&done, 2, &["is in the output folder"]);
}

#[test]
fn a_name_of_a_folder_stays_in_its_table() {
    let header = HEADER.replace("discount", "discount,../../../evil");
    let shop = shop(&format!("{header}1,1,1,2024-01-01,1,0,y\n"));
    check(&configured(&shop, "output: {partition_by: [\"../../../evil\"]}"), 0, &[]);
    assert!(
        shop.files("enriched_data")[0].starts_with("..%2F..%2F..%2Fevil=y/part-"),
        "{:?}",
        shop.files("enriched_data")
    );
    let all = "order_id,customer_id,product_id,order_date,quantity,discount,../../../evil,price,category,total_amount,\
               total_spent,customer_tier";
    let done = shop.run(&["--partition-by", all]);
    check(&done, 2, &["output.partition_by: all columns of the table are in it"]);
    let long = format!("{header}1,1,1,2024-01-01,1,0,{}\n", "y".repeat(300));
    shop.write("orders.csv", &long);
    let done = configured(&shop, "output: {partition_by: [\"../../../evil\"]}");
    check(&done, 1, &["output.partition_by: column ../../../evil has a value whose folder name would have 3"]);
}

#[test]
fn a_sum_without_room_is_an_error_and_no_other_number() {
    let most = "1,1,2024-01-01,2147483647,-99999.9999";
    let orders: String = (0..450_000).map(|id| format!("{id},{most}\n")).collect();
    let shop = shop(&format!("{HEADER}{orders}"));
    shop.write("products.csv", "product_id,price,category\n1,9999999999.9999,A\n");
    for (table, row) in
        [("daily_sales", "DailySales { day: Some(2024-01-01)"), ("product_sales", "ProductSales { product: Some(1)")]
    {
        let words = [&format!("table {table}: "), "a sum of amounts is beyond 8.5·10^29", row];
        check(&shop.run(&["--tables", table]), 1, &words);
    }
}

#[test]
fn columns_that_no_table_needs_are_not_read() {
    let shop = shop("");
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    let mut bytes = fs::read("tests/corpus/checksums.parquet").expect("a file");
    let value = b"a longer note 17";
    let note = bytes.windows(value.len()).position(|text| text == value).expect("the column is not compressed");
    bytes[note] = b'b';
    fs::write(shop.input().join("orders.parquet"), bytes).expect("written");
    check(&shop.run(&[]), 3, &["orders.parquet", "CRC"]);
    check(&shop.run(&["--tables", "daily_sales,product_sales"]), 0, &[]);
    assert_eq!(rows(&shop, "daily_sales").len(), 30);
}
