//! Live jobs: the output updates of changes, with one and several workers, applied and undone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, StringArray};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use chrono_tz::Tz;
use millstream::config::{InputConfig, JobConfig};
use millstream::generate::generate;
use millstream::model::{AnyId, Change, Day, InputTable, Order, Price, Product};
use millstream::pipeline::EnrichedRowsOf;
use millstream::runtime::{Live, Progress};
use millstream::sinks::{ChangeFeed, Sink, TableChanges};
use millstream::sources::{BatchSource, changes};
use millstream::tables::Catalog;

/// The updates of an epoch: table, cells, diff.
type Moved = Vec<(String, Vec<String>, isize)>;

/// A live job, and the rows that its epochs insert and delete.
struct Job {
    live: Live,
    feed: ChangeFeed,
}

fn start(input: &Path, workers: usize, table: Option<&str>) -> Job {
    start_with(input, workers, table, ChangeFeed::new())
}

fn start_with(input: &Path, workers: usize, table: Option<&str>, feed: ChangeFeed) -> Job {
    let mut config = JobConfig { workers, ..JobConfig::new(Day::from_ymd(2024, 12, 31).expect("a day")) };
    if let Some(table) = table {
        config.tables = Catalog::standard().select(&[table]).expect("a table");
    }
    let sinks = vec![Box::new(feed.clone()) as Box<dyn Sink>];
    let source = Arc::new(InputConfig::at(input).open().expect("the shop is there"));
    let live = Live::start(&config, source, sinks, &Arc::new(Progress::default()));
    Job { live: live.expect("the job starts"), feed }
}

impl Job {
    fn apply(&mut self, changes: Vec<Change<AnyId>>) -> Moved {
        let epoch = self.live.apply(changes).expect("the job is live");
        let (committed, tables) = self.feed.take().expect("the epoch is committed");
        assert_eq!(committed, epoch);
        moved(tables)
    }

    /// What has moved since it was last asked for.
    fn gather(&mut self) -> Moved {
        let epoch = self.live.gather().expect("the job is live");
        assert_eq!(epoch, self.live.epoch());
        moved(self.feed.take_all().net().expect("taken").expect("few"))
    }
}

fn moved(tables: Vec<TableChanges>) -> Moved {
    let mut moved = Moved::new();
    for table in tables {
        for (rows, weight) in [(table.plus, 1), (table.minus, -1)] {
            moved.extend(cells(&rows).into_iter().map(|cells| (table.table.name.clone(), cells, weight)));
        }
    }
    moved.sort();
    moved
}

/// Rows as text, one string per cell.
fn cells(rows: &RecordBatch) -> Vec<Vec<String>> {
    let cell = |column, row| array_value_to_string(column, row).expect("it can be shown");
    (0..rows.num_rows()).map(|row| rows.columns().iter().map(|column| cell(column, row)).collect()).collect()
}

/// Some orders and products of a shop, from all over it.
type Sample = (Vec<(AnyId, Order<AnyId>)>, Vec<(AnyId, Arc<Product>)>);

fn sample(input: &Path, orders: usize, products: usize) -> Sample {
    let source = InputConfig::at(input).open().expect("the shop is there");
    let of =
        |table| changes::<AnyId>(&source, table, Tz::UTC).expect("the shop is read").map(|row| row.expect("a row"));
    let every = |many: usize, all: usize| (all / many).max(1);
    let all_orders: Vec<_> = of(InputTable::Orders)
        .filter_map(|change| if let Change::Order(id, Some(order)) = change { Some((id, order)) } else { None })
        .collect();
    let all_products: Vec<_> = of(InputTable::Products)
        .filter_map(|change| if let Change::Product(id, Some(product)) = change { Some((id, product)) } else { None })
        .collect();
    // Of an id that is there twice the last row counts, so that putting it back is a change of nothing.
    let last: BTreeMap<_, _> = all_orders.iter().cloned().collect();
    let step = every(orders, last.len());
    let sampled = last.into_iter().step_by(step).take(orders).collect();
    let last: BTreeMap<_, _> = all_products.iter().cloned().collect();
    let step = every(products, last.len());
    (sampled, last.into_iter().step_by(step).take(products).collect())
}

/// Updates and deletes of several kinds per epoch, then all undone in reverse order.
fn history((orders, products): &Sample) -> Vec<Vec<Change<AnyId>>> {
    let more = |order: &Order<AnyId>| Order { quantity: order.quantity + 3, ..order.clone() };
    let dearer = |product: &Product| {
        let price = Price::from_e4(i128::from(product.price.e4()) + 10_000).expect("a price");
        Arc::new(Product { price, ..product.clone() })
    };
    let renamed = |product: &Product| Arc::new(Product { name: Some("another name".into()), ..product.clone() });
    let corrected = orders[..20].iter().map(|(id, order)| Change::Order(id.clone(), Some(more(order))));
    let deleted = orders[20..].iter().map(|(id, _)| Change::Order(id.clone(), None));
    let prices = products.iter().map(|(id, product)| Change::Product(id.clone(), Some(dearer(product))));
    let names = products.iter().map(|(id, product)| Change::Product(id.clone(), Some(renamed(&dearer(product)))));
    let back = |(id, order): &(AnyId, Order<AnyId>)| Change::Order(id.clone(), Some(order.clone()));
    let back_of_products =
        |(id, product): &(AnyId, Arc<Product>)| Change::Product(id.clone(), Some(Arc::clone(product)));
    vec![
        corrected.chain(deleted).collect(),
        prices.collect(),
        names.collect(),
        products.iter().map(back_of_products).collect(),
        orders.iter().map(back).collect(),
    ]
}

#[test]
fn what_moves_does_not_depend_on_the_workers_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("shop");
    generate(0.001, &input).expect("a shop");
    let sample = sample(&input, 40, 4);
    let mut first: Option<Vec<Moved>> = None;
    for workers in [1, 2, 4] {
        let mut job = start(&input, workers, None);
        let epochs: Vec<Moved> = history(&sample).into_iter().map(|changes| job.apply(changes)).collect();
        job.live.stop().expect("the workers end");
        assert!(epochs.iter().all(|moved| moved.len() > 40), "every epoch moves something");
        let mut all: BTreeMap<_, isize> = BTreeMap::new();
        for (table, row, weight) in epochs.iter().flatten() {
            *all.entry((table.clone(), row.clone())).or_default() += weight;
        }
        all.retain(|_, weight| *weight != 0);
        assert_eq!(all, BTreeMap::new(), "all is as it was");
        assert_eq!(first.get_or_insert_with(|| epochs.clone()), &epochs, "{workers} workers");
    }
}

#[test]
fn epochs_that_are_gathered_move_together_what_they_move_one_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("shop");
    generate(0.001, &input).expect("a shop");
    let sample = sample(&input, 40, 4);
    for (workers, together) in [(1, 1), (2, 2), (4, 3), (2, 5), (1, 10)] {
        let mut each = start(&input, workers, None);
        let mut gathered = start_with(&input, workers, None, ChangeFeed::gathered(1 << 30));
        let mut all: BTreeMap<_, isize> = BTreeMap::new();
        let histories = [history(&sample), history(&sample)].concat();
        for (number, changes) in (1..).zip(histories) {
            for (table, row, weight) in each.apply(changes.clone()) {
                *all.entry((table, row)).or_default() += weight;
            }
            gathered.live.apply(changes).expect("the job is live");
            if number % together == 0 {
                all.retain(|_, weight| *weight != 0);
                let wanted: Moved =
                    std::mem::take(&mut all).into_iter().map(|((table, row), n)| (table, row, n)).collect();
                assert_eq!(gathered.gather(), wanted, "{workers} workers, {together} epochs");
            }
        }
        assert_eq!(gathered.gather().is_empty(), 10 % together == 0, "what is left");
        assert_eq!(gathered.gather(), Moved::new(), "nothing twice");
    }
}

#[test]
fn epochs_that_are_applied_while_others_are_gathered_are_gathered_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("shop");
    generate(0.01, &input).expect("a shop");
    let (orders, _) = sample(&input, 600, 1);
    let correct = |number: usize, orders: &[(AnyId, Order<AnyId>)]| -> Vec<_> {
        let quantity = i32::try_from(number).expect("a few");
        orders.iter().map(|(id, order)| Change::Order(id.clone(), Some(Order { quantity, ..order.clone() }))).collect()
    };
    for workers in [1, 2] {
        let mut each = start(&input, workers, Some("enriched_data"));
        let mut gathered = start_with(&input, workers, Some("enriched_data"), ChangeFeed::gathered(1 << 30));
        let (mut now, mut later) = (BTreeMap::<_, isize>::new(), BTreeMap::new());
        let (mut number, mut beside) = (0, 0);
        for _ in 0..20 {
            // Of some customers all rows differ, which are thousands.
            number += 1;
            let many = correct(number, &orders);
            add(&mut now, each.apply(many.clone()));
            gathered.live.apply(many).expect("the job is live");
            gathered.live.begin_gathering().expect("the job is live");
            while !gathered.live.is_gathered(Duration::ZERO).expect("the job is live") {
                number += 1;
                let few = correct(number, &orders[number % 500..][..2]);
                add(&mut later, each.apply(few.clone()));
                gathered.live.apply(few).expect("the job is live");
                beside += 1;
            }
            let found = moved(gathered.feed.take_all().net().expect("taken").expect("few"));
            assert!(found == net(&now), "{workers} workers, {beside} epochs beside");
            now = std::mem::take(&mut later);
            if beside > 20 {
                break;
            }
        }
        assert!(beside > 0, "an epoch is applied before all is gathered");
        assert!(gathered.gather() == net(&now), "{workers} workers: what is left");
    }
}

/// Adds what an epoch moved to what others did.
fn add(all: &mut BTreeMap<(String, Vec<String>), isize>, moved: Moved) {
    moved.into_iter().for_each(|(table, row, weight)| *all.entry((table, row)).or_default() += weight);
}

/// What some epochs moved together.
fn net(all: &BTreeMap<(String, Vec<String>), isize>) -> Moved {
    let rows = all.iter().filter(|(_, weight)| **weight != 0);
    rows.map(|((table, row), weight)| (table.clone(), row.clone(), *weight)).collect()
}

#[test]
fn beside_a_sink_that_takes_each_epoch_the_same_is_gathered() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("shop");
    generate(0.001, &input).expect("a shop");
    let sample = sample(&input, 40, 4);
    let config = JobConfig { workers: 2, ..JobConfig::new(Day::from_ymd(2024, 12, 31).expect("a day")) };
    let (gathered, each) = (ChangeFeed::gathered(1 << 30), ChangeFeed::of(&["daily_sales", "enriched_data"]));
    let sinks = vec![Box::new(gathered.clone()) as Box<dyn Sink>, Box::new(each.clone())];
    let source = Arc::new(InputConfig::at(&input).open().expect("the shop is there"));
    let mut live = Live::start(&config, source, sinks, &Arc::new(Progress::default())).expect("the job starts");
    let (mut wanted, mut epochs): (BTreeMap<_, isize>, _) = (BTreeMap::new(), history(&sample).into_iter());
    for _ in 0..3 {
        live.apply(epochs.next().expect("an epoch")).expect("the job is live");
        for (table, row, weight) in moved(each.take().expect("an epoch").1) {
            *wanted.entry((table, row)).or_default() += weight;
        }
    }
    live.gather().expect("the job is live");
    wanted.retain(|_, weight| *weight != 0);
    let found = moved(gathered.take_all().net().expect("taken").expect("few"));
    let of_both = |(table, _, _): &&(String, Vec<String>, isize)| table == "daily_sales" || table == "enriched_data";
    let found_of_both: Moved = found.iter().filter(of_both).cloned().collect();
    assert_eq!(found_of_both, wanted.into_iter().map(|((table, row), n)| (table, row, n)).collect::<Moved>());
    assert!(found.len() > found_of_both.len(), "the other tables have moved, too");
}

#[test]
fn a_feed_keeps_nothing_of_too_many_changes_and_then_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("shop");
    generate(0.001, &input).expect("a shop");
    let sample = sample(&input, 40, 4);
    let mut job = start_with(&input, 2, None, ChangeFeed::gathered(100_000));
    let mut epochs = history(&sample).into_iter();
    job.live.apply(epochs.next().expect("an epoch")).expect("the job is live");
    job.live.apply(epochs.next().expect("an epoch")).expect("the job is live");
    job.live.gather().expect("the job is live");
    assert!(job.feed.take_all().net().expect("taken").is_none(), "that is more than 100,000 bytes");
    let (id, order) = sample.0[0].clone();
    job.live.apply([Change::Order(id, Some(Order { quantity: 999, ..order }))]).expect("the job is live");
    assert!(
        job.feed.take_all().net().expect("taken").is_some_and(|changes| changes.is_empty()),
        "nothing is gathered yet"
    );
    job.live.gather().expect("the job is live");
    let moved = moved(job.feed.take_all().net().expect("taken").expect("few"));
    assert!(
        moved
            .iter()
            .any(|(table, row, weight)| table == "enriched_data" && row.contains(&"999".into()) && *weight == 1)
    );
}

#[test]
fn look_ups_need_a_sink_of_the_table_and_know_ids_of_any_integer_type() {
    let ids = |ids: &[i32]| Arc::new(Int32Array::from(ids.to_vec())) as ArrayRef;
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let batch = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).expect("a batch");
    let orders = batch(vec![
        ("order_id", ids(&[7])),
        ("customer_id", ids(&[70])),
        ("product_id", ids(&[1])),
        ("order_date", text("2024-05-01")),
        ("quantity", ids(&[2])),
        ("discount", ids(&[0])),
    ]);
    let products = batch(vec![("product_id", ids(&[1])), ("price", ids(&[3])), ("category", text("Drinks"))]);
    let customers = batch(vec![("customer_id", ids(&[70]))]);
    let start = |sinks| {
        let schemas = [orders.schema(), products.schema(), customers.schema()];
        let source = BatchSource::new(
            (&schemas[0], vec![orders.clone()]),
            (&schemas[1], vec![products.clone()]),
            (&schemas[2], vec![customers.clone()]),
        );
        let config =
            JobConfig { workers: 2, with_lookups: true, ..JobConfig::new(Day::from_ymd(2024, 12, 31).expect("a day")) };
        Live::start(&config, Arc::new(source.expect("a source")), sinks, &Arc::new(Progress::default()))
            .expect("the job starts")
    };
    let mut live = start(vec![Box::new(ChangeFeed::of(&["enriched_data"])) as Box<dyn Sink>]);
    let found = |live: &mut Live, rows_of| {
        let (sender, receiver) = std::sync::mpsc::channel();
        live.look_up(rows_of, move |rows| sender.send(rows).expect("it is received")).expect("the job is live");
        let rows = receiver.recv().expect("answered");
        rows.map(|batches| batches.iter().map(RecordBatch::num_rows).sum::<usize>())
    };
    for id in [AnyId::from(7), AnyId::from("7"), AnyId::from("007")] {
        assert_eq!(found(&mut live, EnrichedRowsOf::Order(id)).expect("found"), 1);
    }
    assert_eq!(found(&mut live, EnrichedRowsOf::Order(AnyId::from(i64::MAX))).expect("none"), 0);
    assert!(found(&mut live, EnrichedRowsOf::Order("A-7".into())).is_err());
    // Of ids of 32 bits one more is taken, and one of 64 bits is refused; the job goes on.
    let day = Day::from_ymd(2024, 5, 2).expect("a day");
    let order = Order { day: Some(day), ..Order::of(AnyId::from(70), AnyId::from(1)) };
    live.apply([Change::Order(8.into(), Some(order.clone()))]).expect("taken");
    live.apply([Change::Order((1_i64 << 40).into(), Some(order))]).expect_err("refused");
    assert_eq!(found(&mut live, EnrichedRowsOf::Customer(70.into())).expect("found"), 2);
    assert_eq!(found(&mut live, EnrichedRowsOf::Days(day, day)).expect("found"), 1);
    live.stop().expect("it ends");
    // Where nobody takes the table, its rows are not joined.
    let mut live = start(vec![Box::new(ChangeFeed::of(&["daily_sales"])) as Box<dyn Sink>]);
    live.look_up(EnrichedRowsOf::Order(7.into()), |_| ()).expect_err("refused");
}

#[test]
fn of_several_changes_of_one_order_the_last_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("shop");
    generate(0.001, &input).expect("a shop");
    let (id, order) = sample(&input, 1, 1).0.remove(0);
    let mut job = start(&input, 2, Some("enriched_data"));
    let pieces = |quantity| Change::Order(id.clone(), Some(Order { quantity, ..order.clone() }));
    let once = job.apply(vec![pieces(101), Change::Order(id.clone(), None), pieces(102)]);
    assert_eq!(job.apply(vec![pieces(102)]), Vec::new(), "it is there already");
    let back = job.apply(vec![pieces(103), pieces(order.quantity)]);
    let mut negated: Moved = once.iter().map(|(table, row, weight)| (table.clone(), row.clone(), -weight)).collect();
    negated.sort();
    assert_eq!(back, negated);
    assert!(once.iter().any(|(_, row, weight)| *weight == 1 && row.contains(&"102".to_owned())), "{once:?}");
    job.live.stop().expect("the workers end");
}

#[test]
fn a_report_counts_source_rows_changes_and_current_rows_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("shop");
    generate(0.001, &input).expect("a shop");
    let (orders, _) = sample(&input, 3, 1);
    for workers in [1, 2] {
        let mut job = start(&input, workers, Some("daily_sales"));
        let counts = |job: &Job| {
            let report = job.live.progress_report();
            let orders = report.inputs.iter().find(|table| table.name == "orders").expect("orders are read");
            let counts = [orders.read, orders.rejected, orders.duplicates];
            assert_eq!(report.to_string().contains("current rows"), orders.changes > 0, "{report}");
            (counts, orders.changes, orders.current)
        };
        let (source, no_changes, held) = counts(&job);
        assert!(source[2] > 0, "the shop has duplicates");
        assert_eq!((no_changes, held), (0, source[0] - source[1] - source[2]));
        let (id, order) = &orders[0];
        let corrected = Order { quantity: order.quantity + 1, ..order.clone() };
        let new = |id: i64| Change::Order(id.into(), Some(order.clone()));
        for (changes, applied, current) in [
            (vec![Change::Order(id.clone(), Some(corrected))], 1, held),
            (vec![new(9_000_000_001), new(9_000_000_002), new(9_000_000_003)], 4, held + 3),
            (vec![Change::Order(id.clone(), None), Change::Order(orders[1].0.clone(), None)], 6, held + 1),
            (vec![Change::Order(id.clone(), None)], 7, held + 1),
        ] {
            job.apply(changes);
            assert_eq!(counts(&job), (source, applied, current), "{workers} workers");
        }
        job.live.stop().expect("the workers end");
    }
}
