//! What each customer did.

use std::iter::repeat_n;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{Account, Customer, CustomerPattern, Id, Line, MatrixEntry, Tiers};
use crate::operators::left_join_unique;

use super::CustomerVisit;
use super::totals::Totals;

/// A row for each customer with orders, the guests together as one.
pub(super) fn patterns<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    visit: &mut CustomerVisit<'scope, T, I>,
    tiers: &Tiers,
) -> VecCollection<'scope, T, CustomerPattern<I>> {
    let tiers = tiers.clone();
    let term = |_: &Option<I>, line: &Line<I>| Totals::of_line(line);
    visit.reduce_summed(term, move |customer, lines, totals, rows| {
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
pub(super) fn accounts<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
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

/// The `most` latest orders of each customer: by day, then by order id; those without a day come last.
pub(super) fn latest_orders<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    visit: &mut CustomerVisit<'scope, T, I>,
    most: usize,
) -> VecCollection<'scope, T, MatrixEntry<I>> {
    visit.reduce_summed(
        |_, _| (),
        move |customer, lines, (), rows| {
            let each = lines.descending().flat_map(|(line, weight)| repeat_n(line, weight.unsigned_abs()));
            rows.extend((1..).zip(each.take(most)).map(|(rank, line)| MatrixEntry {
                customer: customer.clone(),
                rank,
                product: line.product.clone(),
                amount: line.amount(),
            }));
        },
    )
}
