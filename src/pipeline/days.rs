//! What happened on each day and in each month.

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::CountTotal;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{CohortSize, DailySales, Day, Id, Line};
use crate::operators::{ByKey, accumulate, distinct_count};

use super::totals::Totals;

/// A row for each day with an order.
pub(super) fn daily_sales<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
) -> VecCollection<'scope, T, DailySales> {
    let customers = distinct_count(
        by_customer.clone(),
        "Customers of each day",
        |customer, line| customer.is_some().then_some(line.day),
        |_, day| *day,
    );
    accumulate(by_customer.clone(), "Sales by day", |_, line| Some((line.day, Totals::of_line(line))))
        .concat(customers.explode(|day| Some((day, Totals::ONE_CUSTOMER))))
        .arrange_by_self_named("Totals by day")
        .count_total()
        .map(|(day, totals)| DailySales { day, revenue: totals.sum(), customers: totals.customers })
}

/// A row for each month with an order.
pub(super) fn cohort_analysis<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
) -> VecCollection<'scope, T, CohortSize> {
    let customers = distinct_count(
        by_customer.clone(),
        "Customers of each month",
        |customer, line| customer.is_some().then(|| line.day.map(Day::month)),
        |_, month| *month,
    );
    // Not their amounts: a corrected one moves no month.
    accumulate(by_customer.clone(), "Orders by month", |_, line| Some((line.day.map(Day::month), Totals::ONE_ORDER)))
        .concat(customers.explode(|month| Some((month, Totals::ONE_CUSTOMER))))
        .arrange_by_self_named("Totals by month")
        .count_total()
        .map(|(month, totals)| CohortSize { month, customers: totals.customers })
}
