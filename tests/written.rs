//! `enriched_data` as written, against its definition: customers whose orders span several record batches, products
//! that share categories, and single tables.

mod files;

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;

use files::{Shop, as_json};
use serde_json::Value;

/// An order line: id, customer, product, pieces.
type Line = (u32, u32, u32, u32);

const PRODUCTS: u32 = 40;
const CUSTOMERS: u32 = 3;

/// The first customer has six in seven orders. Some customers and products are unknown, and some orders have neither.
fn lines() -> Vec<Line> {
    (0..20_000).map(|id| (id, if id % 7 == 0 { id % 5 } else { 1 }, id * 13 % (PRODUCTS + 3), id % 4 + 1)).collect()
}

fn shop(lines: &[Line]) -> Shop {
    let shop = Shop::empty();
    let mut orders = String::from("order_id,customer_id,product_id,order_date,quantity,discount,channel\n");
    for (id, customer, product, pieces) in lines {
        let customer = if *customer == 0 { String::new() } else { customer.to_string() };
        writeln!(orders, "{id},{customer},{product},2024-01-{:02},{pieces},0,{}", id % 28 + 1, channel(*id))
            .expect("text");
    }
    shop.write("orders.csv", &orders);
    let mut products = String::from("product_id,product_name,category,price,brand\n");
    (0..PRODUCTS)
        .for_each(|id| writeln!(products, "{id},{},{}.0,{}", described(id), price(id), brand(id)).expect("text"));
    shop.write("products.csv", &products);
    let mut customers = String::from("customer_id,city\n");
    (1..=CUSTOMERS).for_each(|id| writeln!(customers, "{id},{}", city(id)).expect("text"));
    shop.write("customers.csv", &customers);
    shop
}

fn channel(id: u32) -> &'static str {
    ["web", "shop", "a name that is too long to lie inline"][id as usize % 3]
}

fn described(product: u32) -> String {
    format!("Product {product},Category {}", product % 3)
}

fn price(product: u32) -> u32 {
    product * 2 + 1
}

fn brand(product: u32) -> String {
    format!("Brand {}", product % 2)
}

fn city(customer: u32) -> String {
    format!("City {customer}")
}

/// The rows of `enriched_data` by its definition.
fn enriched(lines: &[Line]) -> Vec<String> {
    let amount = |(_, _, product, pieces): &Line| (*product < PRODUCTS).then(|| price(*product) * pieces);
    let mut spent: HashMap<u32, u32> = HashMap::new();
    for line in lines.iter().filter(|line| line.1 != 0) {
        amount(line).into_iter().for_each(|amount| *spent.entry(line.1).or_default() += amount);
    }
    let row = |line: &Line| {
        let (id, customer, product, pieces) = line;
        let known = *product < PRODUCTS;
        let item = if known {
            format!("{},{}.0,{}", described(*product), price(*product), brand(*product))
        } else {
            ",,,".into()
        };
        let city = if (1..=CUSTOMERS).contains(customer) { city(*customer) } else { String::new() };
        let total = spent.get(customer);
        let tier = match total {
            Some(10_000..) => "VIP",
            Some(5_000..) => "Gold",
            Some(1_000..) => "Silver",
            Some(_) => "Bronze",
            None => "",
        };
        let money = |amount: Option<u32>| amount.map_or(String::new(), |amount| format!("{amount}.0"));
        let customer = if *customer == 0 { String::new() } else { customer.to_string() };
        let (day, channel) = (id % 28 + 1, channel(*id));
        let (amount, total) = (money(amount(line)), money(total.copied()));
        format!(
            "{id},{customer},{product},2024-01-{day:02},{pieces},0.0,{channel},{item},{city},{amount},{total},{tier}"
        )
    };
    let mut rows: Vec<_> = lines.iter().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn enriched_data_is_what_it_is_defined_to_be() {
    let lines = lines();
    let expected = enriched(&lines);
    let shop = shop(&lines);
    for workers in ["1", "2", "4"] {
        let done = shop.run(&["--workers", workers]);
        assert_eq!(done.status, 0, "{done:?}");
        let rows = shop.rows("enriched_data");
        let differs = rows.iter().zip(&expected).find(|(row, expected)| row != expected);
        assert_eq!((differs, rows.len()), (None, expected.len()), "{workers} workers");
    }
}

#[test]
fn a_table_that_is_asked_for_alone_is_the_one_among_all() {
    let shop = shop(&lines()[..500]);
    assert_eq!(shop.run(&[]).status, 0);
    let tables: Vec<_> = shop.tables().into_iter().filter(|table| table != "rejected").collect();
    let all: Vec<_> = tables.iter().map(|table| shop.rows(table)).collect();
    for (table, rows) in tables.iter().zip(&all) {
        let done = shop.run(&["--tables", table]);
        assert_eq!(done.status, 0, "{done:?}");
        assert_eq!(&shop.rows(table), rows, "{table}");
    }
}

/// What a run read and rejected, without the text of rows, which lack the columns that no table needs.
fn read_and_rejected(shop: &Shop, args: &[&str]) -> (Value, Vec<Vec<Value>>) {
    let path = shop.path("report.json");
    let done = shop.run(&[args, &["--report", path.to_str().expect("text")]].concat());
    assert_eq!(done.status, 0, "{done:?}");
    let report: Value = serde_json::from_slice(&fs::read(path).expect("a report")).expect("JSON");
    let rejected = shop.read("rejected").iter().flat_map(as_json).collect::<Vec<_>>();
    let rejected = rejected.iter().map(|row| {
        let row: Value = serde_json::from_str(row).expect("JSON");
        ["table", "file", "row_number", "reason"].map(|column| row[column].clone()).to_vec()
    });
    (report["inputs"].clone(), rejected.collect())
}

#[test]
fn of_dirty_data_a_table_alone_is_the_one_among_all_and_the_same_rows_are_rejected() {
    let shop = Shop::small();
    let of_all = read_and_rejected(&shop, &["--tables", "all"]);
    assert!(!of_all.1.is_empty() && of_all.0[2]["duplicates"] == 1, "{of_all:?}");
    let tables: Vec<_> = shop.tables().into_iter().filter(|table| table != "rejected").collect();
    let lines = |table: &str| {
        let mut lines: Vec<_> = shop.read(table).iter().flat_map(as_json).collect();
        lines.sort();
        lines
    };
    let all: Vec<_> = tables.iter().map(|table| lines(table)).collect();
    assert_eq!(tables.len(), 12);
    for (table, rows) in tables.iter().zip(&all) {
        for workers in ["1", "2", "3"] {
            let alone = read_and_rejected(&shop, &["--tables", table, "--workers", workers]);
            assert_eq!(alone, of_all, "{table}, {workers} workers");
            assert_eq!(&lines(table), rows, "{table}, {workers} workers");
        }
    }
}
