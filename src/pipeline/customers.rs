//! What each customer bought, and what the enriched rows of a customer share.

use std::sync::Arc;

use differential_dataflow::VecCollection;

use crate::model::{Account, Customer, CustomerPattern, Id, Line, Tiers};
use crate::operators::{ByKey, Epochs, Reductions, SharedReduce, left_join_unique};

use super::totals::Totals;

/// Fused reductions over the lines of each customer whose lines change: the customer is looked up once for all of them.
pub type CustomerReductions<'scope, T, I> = Reductions<'scope, T, Option<I>, Line<I>>;

/// The operator of these reductions; `after` is the time after the last wave, if lines come in waves.
pub(super) fn reductions<'scope, T: Epochs, I: Id>(
    lines: ByKey<'scope, T, Option<I>, Line<I>>,
    after: Option<T>,
) -> SharedReduce<'scope, T, Option<I>, Line<I>> {
    const NAME: &str = "Reductions by customer";
    match after {
        Some(after) => SharedReduce::in_waves(lines, NAME, after),
        None => SharedReduce::new(lines, NAME),
    }
}

/// A row for each customer with orders; guests are one group.
pub(super) fn patterns<'scope, T: Epochs, I: Id>(
    customers: &CustomerReductions<'scope, T, I>,
    tiers: &Tiers,
) -> VecCollection<'scope, T, CustomerPattern<I>> {
    let tiers = tiers.clone();
    let term = |_: &Option<I>, line: &Line<I>| Totals::of_line(line);
    customers.reduce_summed(term, move |customer, lines, totals, rows| {
        let Some((latest, _)) = lines.descending().next() else { return };
        let first = lines.ascending_from(|line| line.day.is_none()).next();
        let spent = totals.sum();
        rows.push(CustomerPattern {
            customer: customer.clone(),
            tier: customer.as_ref().and(spent.get()).map(|spent| tiers.of(spent)),
            orders: totals.orders,
            spent,
            first: first.and_then(|(line, _)| line.day),
            last: latest.day,
        });
    })
}

/// Each customer with orders: their details where there are any, their total and tier.
pub(super) fn accounts<'scope, T: Epochs, I: Id>(
    patterns: VecCollection<'scope, T, CustomerPattern<I>>,
    customers: VecCollection<'scope, T, (I, Arc<Customer>)>,
) -> VecCollection<'scope, T, (Option<I>, Arc<Account>)> {
    let spent = patterns.map(|row| {
        let spent = row.customer.as_ref().and(row.spent.get());
        (row.customer, (row.tier, spent))
    });
    let customers = customers.map(|(id, customer)| (Some(id), customer));
    left_join_unique(spent, customers, "Accounts", |customer, (tier, spent), details| {
        (customer.clone(), Arc::new(Account { details: details.cloned(), spent: *spent, tier: *tier }))
    })
}
