//! Integers wider than 128 bits, as sums of powers need them.

use num_rational::BigRational;
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// An arbitrarily large integer, for the exact arithmetic of a last step.
pub(super) use num_bigint::BigInt;

/// A signed integer of `LIMBS` · 64 bits in two's complement, least limb first.
///
/// Sums wrap: one that fits is right even where a sum on the way to it did not fit. Whether it fits is for its owner to
/// know. The order is one of bits, not of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Wide<const LIMBS: usize>(#[serde(with = "BigArray")] [u64; LIMBS]);

impl<const LIMBS: usize> Default for Wide<LIMBS> {
    fn default() -> Self {
        Wide([0; LIMBS])
    }
}

impl<const LIMBS: usize> Wide<LIMBS> {
    /// A number that is not negative; three limbs or more hold any up to 2¹²⁶, the square of a 64-bit value.
    pub(super) fn from_unsigned(number: u128) -> Self {
        let mut limbs = [0; LIMBS];
        limbs[..2].copy_from_slice(&[low(number), low(number >> 64)]);
        Wide(limbs)
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut carry = 0;
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            let sum = u128::from(*limb) + u128::from(other) + carry;
            (*limb, carry) = (low(sum), sum >> 64);
        }
    }

    pub(super) fn negate(&mut self) {
        let mut carry = 1;
        for limb in &mut self.0 {
            let sum = u128::from(!*limb) + carry;
            (*limb, carry) = (low(sum), sum >> 64);
        }
    }

    pub(super) fn times(mut self, factor: i64) -> Self {
        let mut carry = 0;
        for limb in &mut self.0 {
            let product = u128::from(*limb) * u128::from(factor.unsigned_abs()) + carry;
            (*limb, carry) = (low(product), product >> 64);
        }
        if factor < 0 {
            self.negate();
        }
        self
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|limb| *limb == 0)
    }

    pub(super) fn to_big(self) -> BigInt {
        let bytes: Vec<u8> = self.0.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        BigInt::from_signed_bytes_le(&bytes)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low(number: u128) -> u64 {
    number as u64
}

/// The float nearest to a fraction; `None` if the denominator is zero.
pub(super) fn nearest(numerator: BigInt, denominator: BigInt) -> Option<f64> {
    use num_traits::{ToPrimitive, Zero};
    if denominator.is_zero() { None } else { BigRational::new_raw(numerator, denominator).to_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn wide_sums_and_products_are_those_of_big_integers(
            numbers in proptest::collection::vec((0..1_u128 << 126, any::<i64>()), 0..8),
        ) {
            let (mut sum, mut expected) = (Wide::<5>::default(), BigInt::default());
            for (number, factor) in numbers {
                sum.add(&Wide::from_unsigned(number).times(factor).times(factor));
                expected += BigInt::from(number) * factor * factor;
                sum.negate();
                expected = -expected;
            }
            prop_assert_eq!(sum.to_big(), expected);
        }
    }

    #[test]
    fn a_quotient_is_rounded_once_and_zero_divides_nothing() {
        assert_eq!(nearest(1.into(), 3.into()), Some(1.0 / 3.0));
        assert_eq!(nearest(BigInt::from(-1) << 900, BigInt::from(1) << 899), Some(-2.0));
        assert_eq!(nearest(1.into(), 0.into()), None);
    }
}
