//! The oracle: the tables by their definition, recomputed from scratch with maps, sorts and loops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream::model::{Account, Amount, AmountSum, CustomerPattern, Day, Id, Line, Month, Order, ProductSales};
use millstream::pipeline::Enriched;
use millstream::pipeline::Settings;
use millstream::tables::{
    CategoryStats, CohortSize, DailySales, MatrixEntry, NewCustomers, OrderAnomaly, ProductFeatures, ProductRanking,
    Rfm,
};

use super::further;
use super::history::Tables;

/// The tables, each sorted.
#[derive(Debug, PartialEq)]
pub struct Answer<I> {
    pub enriched_data: Vec<Enriched<I>>,
    pub daily_sales: Vec<DailySales>,
    pub product_sales: Vec<ProductSales<I>>,
    pub customer_patterns: Vec<CustomerPattern<I>>,
    pub rfm_analysis: Vec<Rfm<I>>,
    pub cohort_analysis: Vec<CohortSize>,
    pub customer_product_matrix: Vec<MatrixEntry<I>>,
    pub product_ranking: Vec<ProductRanking<I>>,
    pub category_stats: Vec<CategoryStats>,
    pub product_features: Vec<ProductFeatures<I>>,
    pub order_anomalies: Vec<OrderAnomaly<I>>,
    pub first_purchase_cohorts: Vec<NewCustomers>,
}

/// An order and its id.
type Row<'a, I> = (&'a I, &'a Order<I>);

#[expect(clippy::too_many_lines, reason = "the definition of seven tables, a closure each")]
pub fn answer<I: Id>(tables: &Tables<I>, settings: &Settings) -> Answer<I> {
    let amounts: BTreeMap<&I, Option<Amount>> =
        tables.orders.iter().map(|(id, order)| (id, amount(tables, order))).collect();
    let sum = |orders: &[Row<'_, I>]| {
        let known: Vec<i128> = orders.iter().filter_map(|(id, _)| amounts[id]).map(Amount::e8).collect();
        AmountSum { total: Amount::from_e8(known.iter().sum()), count: i64::try_from(known.len()).expect("few") }
    };
    let customers = |orders: &[Row<'_, I>]| -> i64 {
        let distinct: BTreeSet<&I> = orders.iter().filter_map(|(_, order)| order.customer.as_ref()).collect();
        i64::try_from(distinct.len()).expect("few")
    };
    let by_customer = group(tables, |order| order.customer.clone());
    let tier = |customer: &Option<I>, orders: &[Row<'_, I>]| {
        customer.as_ref()?;
        Some(settings.tiers.of(sum(orders).get()?))
    };

    let enriched = |(id, order): Row<'_, I>| {
        let theirs = &by_customer[&order.customer];
        let account = Account {
            details: order.customer.as_ref().and_then(|id| tables.customers.get(id)).cloned(),
            spent: order.customer.as_ref().and(sum(theirs).get()),
            tier: tier(&order.customer, theirs),
        };
        Enriched {
            customer: order.customer.clone(),
            line: line(tables, id, order),
            item: order.product.as_ref().and_then(|id| tables.products.get(id)).cloned(),
            account: Arc::new(account),
        }
    };
    let daily = |(day, orders): (&Option<Day>, &Vec<Row<'_, I>>)| DailySales {
        day: *day,
        revenue: sum(orders),
        customers: customers(orders),
    };
    let product = |(id, orders): (&Option<I>, &Vec<Row<'_, I>>)| {
        let item = id.as_ref().and_then(|id| tables.products.get(id));
        ProductSales {
            product: id.clone(),
            name: item.and_then(|item| item.name.clone()),
            category: item.map(|item| item.category.clone()),
            quantity: orders.iter().map(|(_, order)| i64::from(order.quantity)).sum(),
            revenue: sum(orders).get(),
            customers: customers(orders),
        }
    };
    let pattern = |(customer, orders): (&Option<I>, &Vec<Row<'_, I>>)| CustomerPattern {
        customer: customer.clone(),
        tier: tier(customer, orders),
        orders: i64::try_from(orders.len()).expect("few"),
        spent: sum(orders),
        first: orders.iter().filter_map(|(_, order)| order.day).min(),
        last: orders.iter().filter_map(|(_, order)| order.day).max(),
    };
    let rfm = |(customer, orders): (&Option<I>, &Vec<Row<'_, I>>)| Rfm {
        customer: customer.clone(),
        recency: orders.iter().filter_map(|(_, order)| order.day).max().map(|last| settings.as_of.days() - last.days()),
        frequency: i64::try_from(orders.len()).expect("few"),
        monetary: sum(orders).get(),
    };
    let matrix = |(customer, orders): (&Option<I>, &Vec<Row<'_, I>>)| {
        let mut latest = orders.clone();
        latest.sort_by_key(|(id, order)| std::cmp::Reverse((order.day, *id)));
        let entry = |(rank, (id, order)): (u32, &Row<'_, I>)| MatrixEntry {
            customer: customer.clone(),
            rank,
            product: order.product.clone(),
            amount: amounts[id],
        };
        (1..).zip(latest.iter().take(settings.matrix_size)).map(entry).collect::<Vec<_>>()
    };
    let cohort = |(month, orders): (&Option<Month>, &Vec<Row<'_, I>>)| CohortSize {
        month: *month,
        customers: customers(orders),
    };

    let mut firsts: BTreeMap<Option<Month>, i64> = BTreeMap::new();
    for (_, orders) in by_customer.iter().filter(|(customer, _)| customer.is_some()) {
        *firsts.entry(orders.iter().filter_map(|(_, order)| order.day).min().map(Day::month)).or_default() += 1;
    }

    let product_sales = sorted(group(tables, |order| order.product.clone()).iter().map(product));
    Answer {
        product_ranking: sorted(product_sales.iter().map(|sales| further::ranking(&product_sales, sales))),
        category_stats: sorted(further::categories(tables).map(|category| further::stats(tables, category))),
        product_features: sorted(tables.products.iter().map(|(id, product)| further::features(id, product))),
        order_anomalies: sorted(tables.orders.iter().map(|(id, order)| further::anomaly(tables, id, order))),
        product_sales,
        enriched_data: sorted(tables.orders.iter().map(enriched)),
        daily_sales: sorted(group(tables, |order| order.day).iter().map(daily)),
        customer_patterns: sorted(by_customer.iter().map(pattern)),
        rfm_analysis: sorted(by_customer.iter().map(rfm)),
        cohort_analysis: sorted(group(tables, |order| order.day.map(Day::month)).iter().map(cohort)),
        customer_product_matrix: sorted(by_customer.iter().flat_map(matrix)),
        first_purchase_cohorts: sorted(
            firsts.iter().map(|(month, count)| NewCustomers { month: *month, customers: *count }),
        ),
    }
}

fn amount<I: Id>(tables: &Tables<I>, order: &Order<I>) -> Option<Amount> {
    let product = tables.products.get(order.product.as_ref()?)?;
    let left_e4 = 10_000 - i128::from(order.discount.e4());
    Some(Amount::from_e8(i128::from(order.quantity) * i128::from(product.price.e4()) * left_e4))
}

fn line<I: Id>(tables: &Tables<I>, id: &I, order: &Order<I>) -> Line<I> {
    let item = order.product.as_ref().and_then(|id| tables.products.get(id));
    Line {
        day: order.day,
        order: id.clone(),
        product: order.product.clone(),
        quantity: order.quantity,
        discount: order.discount,
        price: item.map(|item| item.price),
        extra: order.extra.clone(),
    }
}

fn group<I: Id, K: Ord>(tables: &Tables<I>, key: impl Fn(&Order<I>) -> K) -> BTreeMap<K, Vec<Row<'_, I>>> {
    let mut groups: BTreeMap<K, Vec<Row<'_, I>>> = BTreeMap::new();
    for (id, order) in &tables.orders {
        groups.entry(key(order)).or_default().push((id, order));
    }
    groups
}

fn sorted<R: Ord>(rows: impl Iterator<Item = R>) -> Vec<R> {
    let mut rows: Vec<R> = rows.collect();
    rows.sort();
    rows
}
