//! What each customer did.

use std::iter::repeat_n;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::CountTotal;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{Account, Amount, Customer, CustomerPattern, Id, Line, MatrixEntry, Sum, Tiers};
use crate::operators::{ByKey, accumulate, complete, inner_join, reduce_sorted};

use super::totals::Totals;

/// Orders and amounts of each customer, the guests together as one.
pub(super) fn totals<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
) -> ByKey<'scope, T, Option<I>, Totals> {
    accumulate(by_customer.clone(), "Sales by customer", |customer, line| {
        Some((customer.clone(), Totals::of_line(line)))
    })
    .arrange_by_self_named("Sums by customer")
    .count_total()
    .arrange_by_key_named("Totals by customer")
}

/// Each customer with orders: their details where there are any, their total and tier.
pub(super) fn accounts<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    totals: &ByKey<'scope, T, Option<I>, Totals>,
    customers: VecCollection<'scope, T, (I, Arc<Customer>)>,
    tiers: &Tiers,
) -> ByKey<'scope, T, Option<I>, Arc<Account>> {
    let tiers = tiers.clone();
    let ordering = totals.clone().as_collection(|customer, _| customer.clone());
    let details = complete(ordering, customers.map(|(id, customer)| (Some(id), customer)), "Customer details");
    let accounts = inner_join(totals.clone(), details, "Accounts", move |customer, totals, details| {
        let spent = customer.as_ref().and(totals.sum().get());
        let tier = spent.map(|spent| tiers.of(spent));
        (customer.clone(), Arc::new(Account { details: details.clone(), spent, tier }))
    });
    accounts.arrange_by_key_named("Accounts by customer")
}

/// A row for each customer with orders.
pub(super) fn patterns<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
    totals: &ByKey<'scope, T, Option<I>, Totals>,
    tiers: &Tiers,
) -> VecCollection<'scope, T, CustomerPattern<I>> {
    let tiers = tiers.clone();
    let days = reduce_sorted(by_customer.clone(), "First and last day", |_, lines, days| {
        if let Some((latest, _)) = lines.descending().next() {
            let first = lines.ascending_from(|line| line.day.is_none()).next();
            days.push((first.and_then(|(line, _)| line.day), latest.day));
        }
    });
    let days = days.arrange_by_key_named("First and last day by customer");
    inner_join(totals.clone(), days, "Customer patterns", move |customer, totals, &(first, last)| {
        let spent: Sum = totals.sum();
        let tier = customer.as_ref().and(spent.get()).map(|spent| tiers.of(spent));
        CustomerPattern { customer: customer.clone(), tier, orders: totals.orders, spent, first, last }
    })
}

/// The `most` latest orders of each customer: by day, then by order id; those without a day come last.
pub(super) fn latest_orders<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
    most: usize,
) -> VecCollection<'scope, T, MatrixEntry<I>> {
    let latest = reduce_sorted(by_customer.clone(), "Latest orders", move |_, lines, latest| {
        let each = lines.descending().flat_map(|(line, weight)| repeat_n(line, weight.unsigned_abs()));
        latest.extend((1_u32..).zip(each.take(most)).map(|(rank, line)| (rank, line.product.clone(), line.amount())));
    });
    latest.map(|(customer, (rank, product, amount)): (_, (_, _, Option<Amount>))| MatrixEntry {
        customer,
        rank,
        product,
        amount,
    })
}
