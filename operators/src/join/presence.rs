//! The weight of a key that is present: one, or its negative.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Multiply, Semigroup};
use serde::{Deserialize, Serialize};

/// A diff by which diffs of any type can be multiplied, as differential's integers can't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Presence(i8);

impl Presence {
    pub(super) const ONE: Presence = Presence(1);
}

impl IsZero for Presence {
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl Semigroup for Presence {
    fn plus_equals(&mut self, other: &Self) {
        self.0 += other.0;
    }
}

impl Monoid for Presence {
    fn zero() -> Self {
        Presence(0)
    }
}

impl Abelian for Presence {
    fn negate(&mut self) {
        self.0 = -self.0;
    }
}

impl<R: Abelian + Clone> Multiply<R> for Presence {
    type Output = R;

    fn multiply(self, diff: &R) -> R {
        let mut product = diff.clone();
        for _ in 1..self.0.unsigned_abs() {
            product.plus_equals(diff);
        }
        if self.0 < 0 {
            product.negate();
        }
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_multiplied_as_often_as_the_key_is_present() {
        let mut twice = Presence::ONE;
        twice.plus_equals(&Presence::ONE);
        assert_eq!([Presence::ONE.multiply(&7_i32), twice.multiply(&7)], [7, 14]);
        twice.negate();
        assert_eq!(twice.multiply(&7), -14);
    }
}
