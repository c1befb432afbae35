//! Totals, which are the diffs of updates.
//!
//! Each counts its orders too: a group whose amounts sum to zero is not empty while it has orders.

use differential_dataflow::difference::{IsZero, Multiply, Semigroup};
use serde::{Deserialize, Serialize};

use crate::model::{Amount, AmountSum, Line};
use crate::operators::Variance;

/// Orders, customers and amounts of a day, a month or a customer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Totals {
    /// Orders.
    pub orders: i64,
    /// Distinct customers, where they are counted.
    pub customers: i64,
    priced: i64,
    /// The high parts of the amounts, which tell whether their sum has room: it may wrap before others make it smaller.
    amount_high: i64,
    amount_e8: i128,
}

/// The high part of an amount is that above these bits. A line's is below 2²², so 2⁴⁰ of them fit into 64 bits.
const LOW_BITS: u32 = 86;
/// The least high part of a sum that has no room. Each of the at most 2⁴⁰ amounts was rounded down by less than one.
const NO_ROOM: u64 = 1 << (i128::BITS - 1 - LOW_BITS - 1);

/// Orders, customers and pieces of a product. With its price they make the revenue, so a new price moves one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProductTotals {
    orders: i64,
    /// Distinct customers.
    pub customers: i64,
    /// Pieces.
    pub quantity: i64,
    /// The sum of the squares of quantities.
    quantity_squares: i128,
    /// The sum of `quantity × (1 − discount)`, in units of 10⁻⁴.
    pub paid_pieces_e4: i128,
}

impl Totals {
    /// One order without an amount.
    pub const ONE_ORDER: Totals = Totals { orders: 1, customers: 0, priced: 0, amount_high: 0, amount_e8: 0 };
    /// One customer.
    pub const ONE_CUSTOMER: Totals = Totals { orders: 0, customers: 1, priced: 0, amount_high: 0, amount_e8: 0 };

    /// What an order line adds.
    #[must_use]
    pub fn of_line<I>(line: &Line<I>) -> Totals {
        let amount = line.amount();
        let amount_e8 = amount.map_or(0, Amount::e8);
        // That of a line is always in range.
        let amount_high = i64::try_from(amount_e8 >> LOW_BITS).unwrap_or(i64::MAX);
        Totals { orders: 1, customers: 0, priced: i64::from(amount.is_some()), amount_high, amount_e8 }
    }

    /// The amounts.
    #[must_use]
    pub fn sum(&self) -> AmountSum {
        let has_room = self.amount_high.unsigned_abs() < NO_ROOM;
        AmountSum { total: Amount::of_sum(has_room.then_some(self.amount_e8)), count: self.priced }
    }
}

impl ProductTotals {
    /// One customer.
    pub const ONE_CUSTOMER: ProductTotals =
        ProductTotals { orders: 0, customers: 1, quantity: 0, quantity_squares: 0, paid_pieces_e4: 0 };

    /// What an order line adds.
    #[must_use]
    pub fn of_line<I>(line: &Line<I>) -> ProductTotals {
        let quantity = i64::from(line.quantity);
        let paid_pieces_e4 = i128::from(quantity * line.discount.left_e4());
        let quantity_squares = i128::from(quantity * quantity);
        ProductTotals { orders: 1, customers: 0, quantity, quantity_squares, paid_pieces_e4 }
    }

    /// The quantities of the orders.
    #[must_use]
    pub fn quantities(&self) -> Variance {
        Variance::of_sums(self.orders, self.quantity.into(), self.quantity_squares.unsigned_abs())
    }
}

/// Makes a struct of integers a diff, field by field. Sums wrap: only the final value has to be in range.
macro_rules! add_by_field {
    ($name:ident { $($field:ident: $integer:ty),* }) => {
        impl IsZero for $name {
            #[inline]
            fn is_zero(&self) -> bool {
                $(self.$field == 0)&&*
            }
        }

        impl Semigroup for $name {
            #[inline]
            fn plus_equals(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }
        }

        impl Multiply<isize> for $name {
            type Output = Self;

            #[inline]
            fn multiply(self, times: &isize) -> Self {
                $name { $($field: self.$field.wrapping_mul(*times as $integer)),* }
            }
        }
    };
}

add_by_field!(Totals { orders: i64, customers: i64, priced: i64, amount_high: i64, amount_e8: i128 });
add_by_field!(ProductTotals {
    orders: i64,
    customers: i64,
    quantity: i64,
    quantity_squares: i128,
    paid_pieces_e4: i128
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Discount, Payload, Price};

    fn line(quantity: i32) -> Line<u32> {
        let discount = Discount::from_e4(-999_999_999).expect("in range");
        let price = Price::from_e4(10_i128.pow(14) - 1);
        Line { day: None, order: 1, product: Some(1), quantity, discount, price, extra: Payload::default() }
    }

    #[test]
    fn a_sum_without_room_says_so_until_it_has_room_again() {
        let greatest = Totals::of_line(&line(i32::MAX));
        for (times, has_room) in [(1, true), (390_000, true), (800_000, false), (100_000_000, false)] {
            for sign in [1, -1] {
                let mut sum = greatest.multiply(&(times * sign));
                assert_eq!(!sum.sum().total.is_beyond(), has_room, "{times} times");
                sum.plus_equals(&greatest.multiply(&((1 - times) * sign)));
                assert_eq!(sum.sum().total.e8(), greatest.amount_e8 * sign as i128, "what is left is exact");
            }
        }
        let small = Totals::of_line(&line(-1)).multiply(&-(1 << 30));
        assert!(!small.sum().total.is_beyond(), "rounding of many small amounts is no sum without room");
    }
}
