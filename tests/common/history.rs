//! Random histories of a small shop: upserts and deletes, epoch by epoch.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use millstream::forest::{Forest, Training};
use millstream::model::{Customer, Day, Discount, Id, Order, Payload, Price, Product};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// An upsert, or a delete if `None`.
#[derive(Clone, Debug)]
pub enum Write<I> {
    Order(I, Option<Order<I>>),
    Product(I, Option<Arc<Product>>),
    Customer(I, Option<Arc<Customer>>),
    /// The index of a [`model`], or none.
    Model(Option<u8>),
}

/// The writes of each epoch, in order: the last one of an id wins.
pub type History<I> = Vec<Vec<Write<I>>>;

/// The three tables after an epoch.
#[derive(Clone, Debug)]
pub struct Tables<I> {
    pub orders: BTreeMap<I, Order<I>>,
    pub products: BTreeMap<I, Arc<Product>>,
    pub customers: BTreeMap<I, Arc<Customer>>,
    pub model: Option<u8>,
}

/// A few models.
pub fn model(number: u8) -> Arc<Forest> {
    static MODELS: OnceLock<Vec<Arc<Forest>>> = OnceLock::new();
    let models = MODELS.get_or_init(|| {
        let points: Vec<_> = (0..60).map(|n| [n % 5, n * 10_000 % 70_001, n % 3 * 500]).collect();
        let training = |seed| Training { seed, trees: 3, points_per_tree: 16, ..Training::default() };
        (0..3).map(|seed| Arc::new(Forest::train(&points, &training(seed)).expect("it can be trained"))).collect()
    });
    Arc::clone(&models[usize::from(number)])
}

impl<I: Id> Tables<I> {
    pub fn empty() -> Self {
        Tables { orders: BTreeMap::new(), products: BTreeMap::new(), customers: BTreeMap::new(), model: None }
    }

    pub fn apply(&mut self, write: &Write<I>) {
        fn put<K: Ord + Clone, V: Clone>(table: &mut BTreeMap<K, V>, id: &K, row: Option<&V>) {
            match row {
                Some(row) => table.insert(id.clone(), row.clone()),
                None => table.remove(id),
            };
        }
        match write {
            Write::Order(id, row) => put(&mut self.orders, id, row.as_ref()),
            Write::Product(id, row) => put(&mut self.products, id, row.as_ref()),
            Write::Customer(id, row) => put(&mut self.customers, id, row.as_ref()),
            Write::Model(number) => self.model = *number,
        }
    }

    /// The writes that delete everything.
    pub fn deletions(&self) -> Vec<Write<I>> {
        let orders = self.orders.keys().map(|id| Write::Order(id.clone(), None));
        let products = self.products.keys().map(|id| Write::Product(id.clone(), None));
        let customers = self.customers.keys().map(|id| Write::Customer(id.clone(), None));
        orders.chain(products).chain(customers).chain([Write::Model(None)]).collect()
    }
}

/// The tables after each epoch.
pub fn states<I: Id>(history: &History<I>) -> Vec<Tables<I>> {
    let mut tables = Tables::empty();
    let after = |epoch: &Vec<Write<I>>| {
        epoch.iter().for_each(|write| tables.apply(write));
        tables.clone()
    };
    history.iter().map(after).collect()
}

/// The history, then every epoch undone, the last first.
pub fn and_back<I: Id>(history: &History<I>) -> History<I> {
    let states = states(history);
    let mut all = history.clone();
    for epoch in (0..history.len()).rev() {
        let before = if epoch == 0 { Tables::empty() } else { states[epoch - 1].clone() };
        let undo = history[epoch].iter().map(|write| match write {
            Write::Order(id, _) => Write::Order(id.clone(), before.orders.get(id).cloned()),
            Write::Product(id, _) => Write::Product(id.clone(), before.products.get(id).cloned()),
            Write::Customer(id, _) => Write::Customer(id.clone(), before.customers.get(id).cloned()),
            Write::Model(_) => Write::Model(before.model),
        });
        all.push(undo.collect());
    }
    all
}

/// The history with every id as text.
pub fn with_text_ids(history: &History<i64>) -> History<millstream::model::Text> {
    let text = |id: &i64| millstream::model::Text::from(format!("id-{id}"));
    let order = |order: &Order<i64>| Order {
        customer: order.customer.as_ref().map(text),
        product: order.product.as_ref().map(text),
        day: order.day,
        quantity: order.quantity,
        discount: order.discount,
        extra: order.extra.clone(),
    };
    let write = |write: &Write<i64>| match write {
        Write::Order(id, row) => Write::Order(text(id), row.as_ref().map(order)),
        Write::Product(id, row) => Write::Product(text(id), row.clone()),
        Write::Customer(id, row) => Write::Customer(text(id), row.clone()),
        Write::Model(number) => Write::Model(*number),
    };
    history.iter().map(|epoch| epoch.iter().map(write).collect()).collect()
}

/// Histories with few ids and many collisions.
pub fn histories() -> impl Strategy<Value = History<i64>> {
    vec(vec(writes(), 0..14), 1..8)
}

fn writes() -> impl Strategy<Value = Write<i64>> {
    prop_oneof![
        8 => (0..24_i64, option::weighted(0.85, orders())).prop_map(|(id, order)| {
            Write::Order(id, order)
        }),
        2 => (0..5_i64, option::weighted(0.8, products())).prop_map(|(id, row)| Write::Product(id, row.map(Arc::new))),
        1 => (0..5_i64, option::weighted(0.8, payloads())).prop_map(|(id, extra)| {
            Write::Customer(id, extra.map(|extra| Arc::new(Customer { extra })))
        }),
        1 => option::weighted(0.8, 0..3_u8).prop_map(Write::Model),
    ]
}

/// Orders of few customers and products, some unknown, on a few days in three months.
fn orders() -> impl Strategy<Value = Order<i64>> {
    let days = prop_oneof![Just(0), Just(1), Just(30), Just(31), Just(58), Just(70)];
    (
        option::weighted(0.85, 0..4_i64),
        option::weighted(0.9, 0..7_i64),
        option::weighted(0.9, days),
        -2..6_i32,
        prop_oneof![3 => Just(0), 1 => Just(1500), 1 => Just(10_000), 1 => -5..20_000_i128],
        payloads(),
    )
        .prop_map(|(customer, product, day, quantity, discount_e4, extra)| Order {
            customer,
            product,
            day: day.and_then(Day::new),
            quantity,
            discount: Discount::from_e4(discount_e4).expect("in range"),
            extra,
        })
}

fn products() -> impl Strategy<Value = Product> {
    let prices = prop_oneof![Just(0), Just(1), Just(19_9900), Just(2500_0000), Just(10_i128.pow(14) - 1)];
    (
        option::of(prop_oneof![Just("tea"), Just(" Big  MUG ")]),
        prop_oneof![Just("Unknown"), Just("Kitchen")],
        prices,
        option::of(prop_oneof![Just("Assam"), Just("Bodum"), Just("")]),
        option::of(prop_oneof![Just(r#"{"colour": "red", "size": 1.50}"#), Just("{broken"), Just(r#"{"a": null}"#)]),
        payloads(),
    )
        .prop_map(|(name, category, price_e4, brand, metadata, extra)| Product {
            name: name.map(Into::into),
            category: category.into(),
            price: Price::from_e4(price_e4).expect("in range"),
            brand: brand.map(Into::into),
            metadata: metadata.map(Into::into),
            extra,
        })
}

fn payloads() -> impl Strategy<Value = Payload> {
    prop_oneof![Just(&b""[..]), Just(&b"x"[..]), Just(&b"a payload that does not lie inline"[..])]
        .prop_map(Payload::new)
}
