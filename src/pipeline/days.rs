//! What happened on each day and in each month.

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{CohortSize, DailySales, Day, Id};
use crate::operators::totals;

use super::CustomerVisit;
use super::totals::Totals;

/// A row for each day with an order.
pub(super) fn daily_sales<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    visit: &mut CustomerVisit<'scope, T, I>,
) -> VecCollection<'scope, T, DailySales> {
    let sales = visit.accumulate_distinct(
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
    visit: &mut CustomerVisit<'scope, T, I>,
) -> VecCollection<'scope, T, CohortSize> {
    let sizes = visit.accumulate_distinct(
        |customer, line| customer.is_some().then(|| line.day.map(Day::month)),
        |_, month| *month,
        // Not their amounts: a corrected one moves no month.
        |_, line| Some((line.day.map(Day::month), Totals::ONE_ORDER)),
        Totals::ONE_CUSTOMER,
    );
    totals(sizes, "Cohorts", |month, totals: &Totals| CohortSize { month: *month, customers: totals.customers })
}
