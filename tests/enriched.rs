//! The delta join behind `enriched_data`, with input that only an embedding program gives.

use std::sync::Arc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::input::{Input, InputSession};
use differential_dataflow::{AsCollection, VecCollection};
use millstream::model::{Day, Order, Price, Product};
use millstream::operators::{Position, Upsert};
use millstream::pipeline::{Enriched, Job, Settings, Shop};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::capture::{Capture, Extract};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::vec::input::Handle;

type Products = InputSession<u64, (i64, Arc<Product>), isize>;
type ProductRows<'a> = VecCollection<'a, u64, (i64, Arc<Product>)>;
type Orders = Handle<u64, Upsert<i64, Order<i64>>>;
/// Updates of enriched rows: the epoch, the order, its quantity, the name of its product, and the weight.
type Moved = Vec<(u64, i64, i32, Option<String>, isize)>;

fn tea(name: &str) -> Arc<Product> {
    Arc::new(Product { name: Some(name.into()), ..Product::of("Drinks", Price::from_e4(2_5000).expect("a price")) })
}

fn order(quantity: i32) -> Option<Order<i64>> {
    Some(Order { day: Day::from_ymd(2024, 5, 1), quantity, ..Order::of(7, 1) })
}

/// The updates of enriched rows for what `feed` puts in; `on_the_way` is applied to the products.
fn moved(
    on_the_way: impl for<'a> Fn(ProductRows<'a>) -> ProductRows<'a> + Send + Sync + 'static,
    feed: impl FnOnce(&mut Products, &mut Orders) + Send + Sync + 'static,
) -> Moved {
    let captured = timely::execute_directly(move |worker| {
        let (mut products, mut orders, rows) = worker.dataflow::<u64, _, _>(|scope| {
            let (order_input, orders) = scope.new_input();
            let (product_input, products) = scope.new_collection();
            let (_, customers) = scope.new_collection();
            let settings = Settings::as_of(Day::from_ymd(2024, 12, 31).expect("a day"));
            let shop = Shop { orders, products: on_the_way(products), customers, on_conflict: None, models: None };
            let rows = Job::build(shop, settings, |job| job.enriched_rows());
            (product_input, order_input, rows.inner.capture())
        });
        feed(&mut products, &mut orders);
        rows
    });
    let rows = captured.extract().into_iter().flat_map(|(_, updates)| updates);
    let mut moved: Vec<_> = rows
        .map(|(Enriched { line, item, .. }, epoch, diff)| {
            let name = item.and_then(|item| item.name.as_deref().map(str::to_owned));
            ((epoch, line.order, line.quantity, name), diff)
        })
        .collect();
    consolidate(&mut moved);
    moved.into_iter().map(|((epoch, order, quantity, name), diff)| (epoch, order, quantity, name, diff)).collect()
}

fn advance(products: &mut Products, orders: &mut Orders, epoch: u64) {
    products.advance_to(epoch);
    products.flush();
    orders.advance_to(epoch);
}

#[test]
fn what_a_retracted_copy_leaves_is_what_later_rows_are_joined_with() {
    let moved = moved(
        |products| products,
        |products, orders| {
            products.update((1, tea("Tea")), 2);
            orders.send((100, Position::after(0), order(2)));
            advance(products, orders, 1);
            products.update((1, tea("Tea")), -1);
            advance(products, orders, 2);
            orders.send((100, Position::after(0), order(3)));
            advance(products, orders, 3);
            products.update((1, tea("Tea")), -1);
            products.update((1, tea("Green tea")), 1);
            advance(products, orders, 4);
        },
    );
    let name = |name: &str| Some(name.to_owned());
    let expected = [
        (0, 100, 2, name("Tea"), 1),
        (2, 100, 2, name("Tea"), -1),
        (2, 100, 3, name("Tea"), 1),
        (3, 100, 3, name("Green tea"), 1),
        (3, 100, 3, name("Tea"), -1),
    ];
    assert_eq!(moved, expected);
}

/// The products; those called nothing come in a message without a time.
fn without_time_if_nameless(products: ProductRows<'_>) -> ProductRows<'_> {
    let stream = products.inner.unary(Pipeline, "Nameless", |_, _| {
        |input, output| {
            input.for_each(|message, updates| {
                for update in updates.drain(..) {
                    let (((_, product), _, _), nothing) = (&update, CapabilitySet::new());
                    let stamp = if product.name.is_some() { message.retain_stamp(0) } else { nothing };
                    output.session(&stamp).give(update);
                }
            });
        }
    });
    stream.as_collection()
}

#[test]
fn a_message_without_a_time_has_no_effect() {
    let nameless = || Arc::new(Product::of("Drinks", Price::from_e4(2_5000).expect("a price")));
    let moved = moved(without_time_if_nameless, move |products, orders| {
        products.insert((1, tea("Tea")));
        products.insert((2, nameless()));
        orders.send((100, Position::after(0), order(2)));
        orders.send((101, Position::after(0), Some(Order { product: Some(2), ..order(2).expect("an order") })));
        advance(products, orders, 1);
        products.remove((2, nameless()));
        products.insert((2, nameless()));
        orders.send((101, Position::after(0), Some(Order { product: Some(2), ..order(3).expect("an order") })));
        advance(products, orders, 2);
    });
    let expected =
        [(0, 100, 2, Some("Tea".into()), 1), (0, 101, 2, None, 1), (1, 101, 2, None, -1), (1, 101, 3, None, 1)];
    // Each change of customer 7's total moves all of their rows; the amounts are not shown here.
    assert_eq!(moved, expected);
}

#[test]
fn thousands_of_epochs_that_arrive_together_are_joined_one_by_one() {
    const EPOCHS: u64 = 3_000;
    let moved = moved(
        |products| products,
        |products, orders| {
            products.insert((1, tea("Tea")));
            for epoch in 0..EPOCHS {
                let id = i64::try_from(epoch % 7).expect("small");
                let quantity = i32::try_from(epoch / 7 + 1).expect("small");
                let order = Order { customer: Some(id), ..order(quantity).expect("an order") };
                orders.send((id, Position::after(0), Some(order)));
                orders.advance_to(epoch + 1);
            }
            products.advance_to(EPOCHS);
        },
    );
    let mut expected: Moved = Vec::new();
    for epoch in 0..EPOCHS {
        let (id, quantity) = (i64::try_from(epoch % 7).expect("small"), i32::try_from(epoch / 7 + 1).expect("small"));
        if quantity > 1 {
            expected.push((epoch, id, quantity - 1, Some("Tea".into()), -1));
        }
        expected.push((epoch, id, quantity, Some("Tea".into()), 1));
    }
    assert_eq!(moved, expected);
}
