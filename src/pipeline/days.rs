//! What happened on each day and in each month.

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{CohortSize, DailySales, Day, Id, Line};
use crate::operators::{ByKey, accumulate_distinct, totals};

use super::totals::Totals;

/// A row for each day with an order.
pub(super) fn daily_sales<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
) -> VecCollection<'scope, T, DailySales> {
    let sales = accumulate_distinct(
        by_customer.clone(),
        "Sales and customers by day",
        |customer, line| customer.is_some().then_some(line.day),
        |_, day| *day,
        |_, line| Some((line.day, Totals::of_line(line))),
        Totals::ONE_CUSTOMER,
    );
    totals(sales, "Daily sales", |day, totals: &Totals| DailySales {
        day: *day,
        revenue: totals.sum(),
        customers: totals.customers,
    })
}

/// A row for each month with an order.
pub(super) fn cohort_analysis<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
) -> VecCollection<'scope, T, CohortSize> {
    let sizes = accumulate_distinct(
        by_customer.clone(),
        "Orders and customers by month",
        |customer, line| customer.is_some().then(|| line.day.map(Day::month)),
        |_, month| *month,
        // Not their amounts: a corrected one moves no month.
        |_, line| Some((line.day.map(Day::month), Totals::ONE_ORDER)),
        Totals::ONE_CUSTOMER,
    );
    totals(sizes, "Cohorts", |month, totals: &Totals| CohortSize { month: *month, customers: totals.customers })
}
