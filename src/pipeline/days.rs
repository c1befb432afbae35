//! What was sold on each day.

use differential_dataflow::VecCollection;

use crate::model::{Day, Id, Line};
use crate::operators::{Epochs, accumulate_distinct_rows};

use super::customers::CustomerReductions;
use super::totals::Totals;

/// Orders, distinct customers and amounts of each day, as diffs; guests are not counted as customers.
pub(super) fn totals<'scope, T: Epochs, I: Id>(
    customers: &CustomerReductions<'scope, T, I>,
) -> VecCollection<'scope, T, Option<Day>, Totals> {
    customers.accumulate_distinct(
        Totals::ONE_CUSTOMER,
        |customer, line| customer.is_some().then_some(line.day),
        |_, day| *day,
        |_, line| Some((line.day, Totals::of_line(line))),
    )
}

/// As [`totals`], from lines that are not arranged.
pub(super) fn totals_of_lines<'scope, T: Epochs, I: Id>(
    lines: VecCollection<'scope, T, (Option<I>, Line<I>)>,
) -> VecCollection<'scope, T, Option<Day>, Totals> {
    accumulate_distinct_rows(
        lines,
        "Sales and customers by day",
        Totals::ONE_CUSTOMER,
        |(customer, line)| Some((customer.clone()?, line.day)),
        |(_, day)| *day,
        |(_, line)| Some((line.day, Totals::of_line(line))),
    )
}
