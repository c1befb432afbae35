//! A job that stays: what changes move, on one worker and on several, there and back again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millstream::config::{RunArgs, RunConfig};
use millstream::io::{OutputTable, generate};
use millstream::model::{Number, Order, Price, Product};
use millstream::runtime::{Change, Live, Progress};

/// Rows that an epoch moved: table, cells, weight.
type Moved = Vec<(OutputTable, Vec<String>, isize)>;

fn start(input: &Path, output: &Path, workers: usize, tables: Option<&str>) -> Live<Number> {
    let args = RunArgs {
        input: Some(input.to_owned()),
        output: Some(output.to_owned()),
        workers: Some(workers),
        as_of: Some("2024-12-31".into()),
        tables: tables.map(|table| vec![table.into()]),
        ..RunArgs::default()
    };
    let config = RunConfig::resolve(&args).expect("a run is possible");
    Live::start(&config, &Arc::new(Progress::default())).expect("the job starts")
}

fn moved(live: &mut Live<Number>, changes: Vec<Change<Number>>) -> Moved {
    live.apply_all(changes).expect("the job is live");
    let rows = live.moved().expect("rows are shown");
    let rows = rows.into_iter().map(|(table, shown, weight)| (table, shown.rows.concat(), weight));
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows
}

/// Corrections, deletions and prices, several an epoch; then all of it taken back, the last first.
fn history(live: &Live<Number>) -> Vec<Vec<Change<Number>>> {
    let orders: Vec<(Number, Order<Number>)> = live.sample_orders(40).expect("orders are read");
    let products: Vec<(Number, Arc<Product>)> = live.sample_products(4).expect("products are read");
    let more = |order: &Order<Number>| Order { quantity: order.quantity + 3, ..order.clone() };
    let dearer = |product: &Product| {
        let price = Price::from_e4(i128::from(product.price.e4()) + 10_000).expect("a price");
        Arc::new(Product { price, ..product.clone() })
    };
    let corrected = orders[..20].iter().map(|(id, order)| Change::Order(*id, Some(more(order))));
    let deleted = orders[20..].iter().map(|(id, _)| Change::Order(*id, None));
    let prices = products.iter().map(|(id, product)| Change::Product(*id, Some(dearer(product))));
    let back = |(id, order): &(Number, Order<Number>)| Change::Order(*id, Some(order.clone()));
    let prices_back = products.iter().map(|(id, product)| Change::Product(*id, Some(Arc::clone(product))));
    vec![corrected.chain(deleted).collect(), prices.collect(), prices_back.collect(), orders.iter().map(back).collect()]
}

#[test]
fn what_moves_does_not_depend_on_the_workers_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("shop");
    generate(0.001, &input).expect("a shop");
    let mut first: Option<Vec<Moved>> = None;
    for workers in [1, 2, 4] {
        let mut live = start(&input, &folder.path().join("tables"), workers, None);
        let history = history(&live);
        let epochs: Vec<Moved> = history.into_iter().map(|changes| moved(&mut live, changes)).collect();
        live.stop().expect("the workers end");
        assert!(epochs.iter().all(|moved| moved.len() > 40), "every epoch moves something");
        let mut all: BTreeMap<_, isize> = BTreeMap::new();
        for (table, row, weight) in epochs.iter().flatten() {
            *all.entry((*table, row.clone())).or_default() += weight;
        }
        all.retain(|_, weight| *weight != 0);
        assert_eq!(all, BTreeMap::new(), "all is as it was");
        assert_eq!(first.get_or_insert_with(|| epochs.clone()), &epochs, "{workers} workers");
    }
}

#[test]
fn of_several_changes_of_one_order_the_last_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("shop");
    generate(0.001, &input).expect("a shop");
    let mut live = start(&input, &folder.path().join("tables"), 2, Some("enriched_data"));
    let (id, order) = live.sample_orders(1).expect("orders are read").remove(0);
    let pieces = |quantity| Change::Order(id, Some(Order { quantity, ..order.clone() }));
    let once = moved(&mut live, vec![pieces(101), Change::Order(id, None), pieces(102)]);
    assert_eq!(moved(&mut live, vec![pieces(102)]), Vec::new(), "it is there already");
    let back = moved(&mut live, vec![pieces(103), pieces(order.quantity)]);
    let negated: Moved = once.iter().map(|(table, row, weight)| (*table, row.clone(), -weight)).collect();
    let sorted = |mut rows: Moved| {
        rows.sort();
        rows
    };
    assert_eq!(back, sorted(negated));
    assert!(once.iter().any(|(_, row, weight)| *weight == 1 && row.contains(&"102".to_owned())), "{once:?}");
    live.stop().expect("the workers end");
}
