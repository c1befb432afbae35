//! Exact money in fixed-point arithmetic, never floats.
//!
//! | type | unit | range |
//! |---|---|---|
//! | [`Price`] | 10⁻⁴ of the currency, 8 bytes | absolute value below 10¹⁰ |
//! | [`Discount`] | 10⁻⁴ (0.15 = 15 % is 1500), `i32` | absolute value below 10⁵ |
//! | [`Amount`] | 10⁻⁸ of the currency, `i128` | a line's: below 2.2·10²⁴; sums: up to 8.5·10²⁹, else [`Amount::BEYOND`] |
//!
//! `quantity × price × (1 − discount)` has eight decimals, so an amount is exact, and so is every sum of amounts.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

const E4: i64 = 10_000;

/// A unit price, in units of 10⁻⁴.
///
/// Both `Price` and `Option<Price>` take 8 bytes: the lowest price is stored as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Price(NonZeroU64);

/// The fraction taken off a price, in units of 10⁻⁴.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Discount(i32);

/// Money paid, in units of 10⁻⁸.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Amount(i128);

impl Price {
    /// The exclusive upper bound of the absolute value, in units of 10⁻⁴.
    const BOUND: i64 = 10_i64.pow(14);

    /// A price of `e4` ten-thousandths; `None` if the absolute value is 10¹⁰ or more.
    #[must_use]
    pub fn from_e4(e4: i128) -> Option<Price> {
        let e4 = i64::try_from(e4).ok().filter(|e4| e4.unsigned_abs() < Price::BOUND.unsigned_abs())?;
        NonZeroU64::new((e4 + Price::BOUND).cast_unsigned()).map(Price)
    }

    /// In units of 10⁻⁴.
    #[must_use]
    pub fn e4(self) -> i64 {
        self.0.get().cast_signed() - Price::BOUND
    }
}

/// Zero.
impl Default for Price {
    fn default() -> Self {
        Price(NonZeroU64::MIN.saturating_add(Price::BOUND.unsigned_abs() - 1))
    }
}

impl Discount {
    /// A discount of `e4` ten-thousandths; `None` if the absolute value is 10⁵ or more.
    #[must_use]
    pub fn from_e4(e4: i128) -> Option<Discount> {
        let e4 = i32::try_from(e4).ok()?;
        (e4.unsigned_abs() < 10_u32.pow(9)).then_some(Discount(e4))
    }

    /// In units of 10⁻⁴.
    #[must_use]
    pub fn e4(self) -> i32 {
        self.0
    }

    /// The remaining fraction `1 − discount`, in units of 10⁻⁴.
    #[must_use]
    pub fn left_e4(self) -> i64 {
        E4 - i64::from(self.0)
    }
}

impl Amount {
    /// An amount of `e8` units of 10⁻⁸.
    #[must_use]
    pub fn from_e8(e8: i128) -> Amount {
        Amount(e8)
    }

    /// `quantity × price × (1 − discount)`, exact.
    ///
    /// ```
    /// use millstream::model::{Amount, Discount, Price};
    /// let (price, discount) = (Price::from_e4(19_9900).unwrap(), Discount::from_e4(1500).unwrap());
    /// assert_eq!(Amount::of(3, price, discount), Amount::from_e8(50_97450000)); // 3 × 19.99 × 0.85
    /// ```
    #[must_use]
    pub fn of(quantity: i32, price: Price, discount: Discount) -> Amount {
        let pieces_e4 = i64::from(quantity) * discount.left_e4();
        Amount(i128::from(pieces_e4) * i128::from(price.e4()))
    }

    /// Stands for a sum that has no room: one beyond ±8.5·10²⁹. A table with such a sum is an error.
    pub const BEYOND: Amount = Amount(i128::MAX);
    /// The exclusive bound of sums.
    const ROOM: u128 = 1 << 126;

    /// A sum of `e8` units of 10⁻⁸; [`BEYOND`](Self::BEYOND) if it has no room, or is not known for that reason.
    #[must_use]
    pub fn of_sum(e8: Option<i128>) -> Amount {
        e8.filter(|e8| e8.unsigned_abs() < Amount::ROOM).map_or(Amount::BEYOND, Amount)
    }

    /// True for [`BEYOND`](Self::BEYOND).
    #[must_use]
    pub fn is_beyond(self) -> bool {
        self == Amount::BEYOND
    }

    /// In units of 10⁻⁸.
    #[must_use]
    pub fn e8(self) -> i128 {
        self.0
    }

    /// The double nearest to the exact value (ties to even); only used when a table is written.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        quotient(self.0, 100_000_000)
    }

    /// The double nearest to the exact value divided by `count`; `None` where `count` is 0.
    #[must_use]
    pub fn mean(self, count: i64) -> Option<f64> {
        (count != 0).then(|| quotient(self.0, i128::from(count) * 100_000_000))
    }

    /// The exact value divided by `count`, rounded half-even to 10⁻⁸; `None` where `count` is 0.
    #[must_use]
    pub fn mean_e8(self, count: i64) -> Option<i128> {
        (count != 0).then(|| divide_half_even(self.0, i128::from(count)))
    }
}

/// The double nearest to `x · 10⁻⁴`.
#[must_use]
pub fn e4_to_f64(x: i64) -> f64 {
    x as f64 / 1e4 // both sides are exact below 2⁵³, and IEEE division rounds to the nearest
}

/// A double in units of 10⁻⁴, rounded half-even; `None` if it is infinite, NaN, or does not fit `i64`.
///
/// A double is interpreted as its shortest decimal representation: 0.00015 is a tie, although the double is slightly
/// less.
#[must_use]
pub fn f64_to_e4(x: f64) -> Option<i128> {
    let scaled = x * 1e4;
    if scaled.is_nan() || scaled.abs() >= 1e18 {
        return None;
    }
    // The product's error is below 0.01 in the range of prices, so digits are only needed near a tie.
    if (scaled.fract().abs() - 0.5).abs() < 0.1 {
        return text_to_e4(&x.to_string());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to lie inside i64")]
    Some(i128::from(scaled.round_ties_even() as i64))
}

/// `unscaled · 10^(−scale)` in units of 10⁻⁴, rounded half-even; `None` on overflow of `i128`.
#[must_use]
pub fn decimal_to_e4(unscaled: i128, scale: i32) -> Option<i128> {
    match u32::try_from(scale - 4) {
        Ok(drop) => Some(10_i128.checked_pow(drop).map_or(0, |unit| divide_half_even(unscaled, unit))),
        Err(_) => unscaled.checked_mul(10_i128.checked_pow((4 - scale).unsigned_abs())?),
    }
}

/// A decimal number as text (`-12.50`, `1e-3`) in units of 10⁻⁴, rounded half-even; `None` if it is not a number.
///
/// ```
/// use millstream::model::money::text_to_e4;
/// assert_eq!(text_to_e4("0.00005"), Some(0)); // a tie goes to the even neighbour
/// assert_eq!(text_to_e4("-12.5"), Some(-125_000));
/// assert_eq!(text_to_e4("12,5"), None);
/// ```
#[must_use]
pub fn text_to_e4(text: &str) -> Option<i128> {
    text_to_e4_moved(text, 0)
}

/// As [`text_to_e4`], but the point first moves to the left by `places`.
pub(crate) fn text_to_e4_moved(text: &str, places: i32) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if digits.len() + fraction.len() == 0 || !all_digits(digits) || !all_digits(fraction) {
        return None;
    }
    let (unscaled, dropped) = leading_digits(digits.bytes().chain(fraction.bytes()));
    if unscaled == 0 {
        return Some(0);
    }
    let places = i64::from(places) + i64::try_from(fraction.len()).ok()? - exponent - dropped;
    let signed = if whole.starts_with('-') { -unscaled } else { unscaled };
    const FAR: i64 = 1000;
    decimal_to_e4(signed, i32::try_from(places.clamp(-FAR, FAR)).ok()?)
}

/// An exponent; one of too many digits is as good as infinite.
fn exponent_of(text: &str) -> Option<i64> {
    const INFINITE: i64 = 1 << 40;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i64>().unwrap_or(INFINITE).min(INFINITE);
    Some(if text.starts_with('-') { -size } else { size })
}

/// The number that the first digits make, and how many further ones there are. If one of these is not zero, the last
/// digit is 1, which is enough to round correctly.
fn leading_digits(digits: impl Iterator<Item = u8>) -> (i128, i64) {
    const MOST: i128 = 10_i128.pow(36);
    let (mut number, mut dropped, mut has_rest) = (0, 0, false);
    for digit in digits {
        if number < MOST {
            number = number * 10 + i128::from(digit - b'0');
        } else {
            dropped += 1;
            has_rest |= digit != b'0';
        }
    }
    if has_rest { (number / 10 * 10 + 1, dropped) } else { (number, dropped) }
}

/// `dividend / divisor`, rounded half-even. The divisor must be positive and at most 10³⁸.
fn divide_half_even(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend.div_euclid(divisor), dividend.rem_euclid(divisor));
    let up = match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    quotient + i128::from(up)
}

/// The double nearest to `dividend / divisor` (ties to even). The divisor must be positive.
///
/// If both are exactly representable as doubles, which is nearly always the case, IEEE division rounds correctly.
/// Otherwise, integer long division yields 64 significant bits and a sticky bit for the remainder; converting those
/// bits to a double is the only rounding.
fn quotient(dividend: i128, divisor: i128) -> f64 {
    const EXACT: std::ops::RangeInclusive<i64> = -(1 << f64::MANTISSA_DIGITS)..=1 << f64::MANTISSA_DIGITS;
    match (i64::try_from(dividend), i64::try_from(divisor)) {
        (Ok(dividend), Ok(divisor)) if EXACT.contains(&dividend) && EXACT.contains(&divisor) => {
            dividend as f64 / divisor as f64
        }
        _ => long_quotient(dividend, divisor.unsigned_abs()),
    }
}

fn long_quotient(dividend: i128, divisor: u128) -> f64 {
    let magnitude = dividend.unsigned_abs();
    let (mut bits, mut rest) = (magnitude / divisor, magnitude % divisor);
    let mut exponent = 0_i32;
    while bits < 1 << 63 && rest < 1 << 126 {
        rest <<= 1;
        bits = bits << 1 | u128::from(rest >= divisor);
        rest -= if rest >= divisor { divisor } else { 0 };
        exponent -= 1;
    }
    let nearest = (bits | u128::from(rest != 0)) as f64 * 2_f64.powi(exponent);
    if dividend < 0 { -nearest } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_even_neighbour() {
        assert_eq!(f64_to_e4(0.00005), Some(0));
        assert_eq!(f64_to_e4(0.00015), Some(2));
        assert_eq!(f64_to_e4(-0.00025), Some(-2));
        assert_eq!(f64_to_e4(9_999_999_999.999_85), Some(99_999_999_999_998));
        assert_eq!(decimal_to_e4(-15, 5), Some(-2));
        assert_eq!(decimal_to_e4(25, 5), Some(2));
        assert_eq!(decimal_to_e4(1, 90), Some(0));
        assert_eq!(decimal_to_e4(7, 0), Some(70_000));
        assert_eq!(divide_half_even(-7, 2), -4);
    }

    #[test]
    fn a_number_too_large_is_none() {
        assert_eq!(f64_to_e4(f64::INFINITY), None);
        assert_eq!(Price::from_e4(10_i128.pow(14)), None);
        assert_eq!(Price::from_e4(10_i128.pow(14) - 1).map(Price::e4), Some(99_999_999_999_999));
        assert_eq!(Price::from_e4(1 - 10_i128.pow(14)).map(Price::e4), Some(-99_999_999_999_999));
        assert_eq!((Price::from_e4(0), size_of::<Option<Price>>()), (Some(Price::default()), 8));
        assert_eq!(Discount::from_e4(i128::MAX), None);
        assert_eq!(text_to_e4("1e400"), None);
        assert_eq!(text_to_e4("1e99999999999999999999"), None);
    }

    #[test]
    fn a_text_may_have_any_number_of_digits() {
        let zeros = "0".repeat(100);
        assert_eq!(text_to_e4(&format!("10.{zeros}")), Some(100_000));
        assert_eq!(text_to_e4(&format!("{zeros}10.{zeros}1")), Some(100_000));
        assert_eq!(text_to_e4(&format!("0.00005{zeros}")), Some(0));
        assert_eq!(text_to_e4(&format!("0.00005{zeros}1")), Some(1));
        assert_eq!(text_to_e4(&format!("-1.00005{zeros}1")), Some(-10_001));
        assert_eq!(text_to_e4("0.1000000000000000055511151231257827021181583404541015625"), Some(1000));
        assert_eq!(text_to_e4("3.3333333333333333333333333333333333333333"), Some(33_333));
        assert_eq!(text_to_e4(&format!("1{zeros}e-100")), Some(10_000));
        for tiny in ["1e-40000", "1e-99999999999999999999", "0e99999999999999999999", &format!("0.{zeros}{zeros}1")] {
            assert_eq!(text_to_e4(tiny), Some(0), "{tiny}");
        }
        for wrong in ["1e", "1e+", "e5", ".", "1e1.5", "--1", "1_000"] {
            assert_eq!(text_to_e4(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_mean_of_nothing_is_none() {
        assert_eq!(Amount::from_e8(5).mean(0), None);
        assert_eq!(Amount::from_e8(5).mean_e8(2), Some(2));
    }

    proptest! {
        /// IEEE division is correctly rounded, so it is the oracle.
        #[test]
        fn the_quotient_is_the_nearest_double(dividend in -(1_i64 << 53)..(1 << 53), divisor in 1_i64..(1 << 53)) {
            let expected = dividend as f64 / divisor as f64 + 0.0;
            let (dividend, divisor) = (i128::from(dividend), i128::from(divisor));
            prop_assert_eq!(quotient(dividend, divisor).to_bits(), expected.to_bits());
            prop_assume!(dividend != 0);
            prop_assert_eq!(long_quotient(dividend, divisor.unsigned_abs()).to_bits(), expected.to_bits());
        }

        #[test]
        fn text_and_decimal_agree(unscaled in any::<i64>(), scale in 0_usize..12) {
            let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if unscaled < 0 { "-" } else { "" };
            let text = format!("{sign}{whole}.{fraction}");
            let scale = i32::try_from(scale).expect("small");
            prop_assert_eq!(text_to_e4(&text), decimal_to_e4(i128::from(unscaled), scale));
        }
    }
}
