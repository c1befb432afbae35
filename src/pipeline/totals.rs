//! Totals, which are the diffs of updates.
//!
//! Each counts its orders too: a group whose amounts sum to zero is not empty while it has orders.

use differential_dataflow::difference::{IsZero, Multiply, Semigroup};
use serde::{Deserialize, Serialize};

use crate::model::{Amount, AmountSum, Discount, Line};
use crate::operators::Variance;

/// An order as one of its product's: ordered by customer, so that those of a customer are adjacent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sale<I> {
    /// Who ordered.
    pub customer: Option<I>,
    /// How many pieces.
    pub quantity: i32,
    /// The fraction taken off.
    pub discount: Discount,
}

/// Orders, customers and amounts of a day, a month or a customer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Totals {
    /// Orders.
    pub orders: i64,
    /// Distinct customers, where they are counted.
    pub customers: i64,
    priced: i64,
    amount_e8: i128,
}

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
    pub const ONE_ORDER: Totals = Totals { orders: 1, customers: 0, priced: 0, amount_e8: 0 };
    /// One customer.
    pub const ONE_CUSTOMER: Totals = Totals { orders: 0, customers: 1, priced: 0, amount_e8: 0 };

    /// What an order line adds.
    #[must_use]
    pub fn of_line<I>(line: &Line<I>) -> Totals {
        let amount = line.amount();
        let amount_e8 = amount.map_or(0, Amount::e8);
        Totals { orders: 1, customers: 0, priced: i64::from(amount.is_some()), amount_e8 }
    }

    /// The amounts.
    #[must_use]
    pub fn sum(&self) -> AmountSum {
        AmountSum { total: Amount::from_e8(self.amount_e8), count: self.priced }
    }
}

impl ProductTotals {
    /// One customer.
    pub const ONE_CUSTOMER: ProductTotals =
        ProductTotals { orders: 0, customers: 1, quantity: 0, quantity_squares: 0, paid_pieces_e4: 0 };

    /// What a sale adds.
    #[must_use]
    pub fn of_sale<I>(sale: &Sale<I>) -> ProductTotals {
        let quantity = i64::from(sale.quantity);
        let paid_pieces_e4 = i128::from(quantity * sale.discount.left_e4());
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
            fn is_zero(&self) -> bool {
                $(self.$field == 0)&&*
            }
        }

        impl Semigroup for $name {
            fn plus_equals(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }
        }

        impl Multiply<isize> for $name {
            type Output = Self;

            fn multiply(self, times: &isize) -> Self {
                $name { $($field: self.$field.wrapping_mul(*times as $integer)),* }
            }
        }
    };
}

add_by_field!(Totals { orders: i64, customers: i64, priced: i64, amount_e8: i128 });
add_by_field!(ProductTotals {
    orders: i64,
    customers: i64,
    quantity: i64,
    quantity_squares: i128,
    paid_pieces_e4: i128
});
