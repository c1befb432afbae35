//! Statistics as diffs: sum, mean, variance, skewness and kurtosis, exact under retraction.
//!
//! Sums of powers can be added and subtracted. Kept in the *diff* of an update ([`aggregate`](super::aggregate())),
//! the sums of a group are all the state its statistics need, and one more row costs a few additions whatever the size
//! of the group. Nothing here is a float until the last step, so the result has the same bits for every history, order
//! and number of workers that ends in the same rows.
//!
//! ```text
//! Sum       n, Σx                  count, total, mean
//! Variance  n, Σx, Σx²             and variance, standard deviation
//! Moments   n, Σx, Σx², Σx³, Σx⁴   and skewness, excess kurtosis
//! ```
//!
//! Values are integers, or fixed point: a `Moments<4>` holds values in units of 10⁻⁴, and its mean is in whole units.
//!
//! **Width.** A value may have 64 bits; the sums of its first to fourth powers have 128, 192, 256 and 320, enough for
//! 2⁶³ rows, so no sum overflows. A value beyond 64 bits is counted but not added: while such a row is
//! present, every statistic is [`Overflow`]; when it is retracted, all are exact again.
//!
//! **Weights.** At the end of an epoch, weights of rows are assumed not to be negative. Where some are, a statistic
//! without meaning is `None`.
//!
//! **Nulls** count nowhere. What is undefined is `None`: anything of no values, the sample variance of one, the
//! skewness of values that are all equal. Definitions are those of Spark SQL: sample `variance` and `stddev`,
//! population skewness and excess kurtosis.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Multiply, Semigroup};
use serde::{Deserialize, Serialize};

use crate::wide::{BigInt, Wide, nearest};

/// Values that a statistic has no room for are among the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
#[error(
    "found {values} {} not fit, wanted at most 64 bits and 2⁶³ rows",
    if *.values == 1 { "value that does" } else { "values that do" }
)]
pub struct Overflow {
    /// How many: the values beyond 64 bits, or if there are none, all.
    pub values: i128,
}

/// A statistic: `None` where it is undefined.
pub type Statistic<A = f64> = Result<Option<A>, Overflow>;

/// Count and sum of values in units of 10⁻ˢᶜᴬᴸᴱ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sum<const SCALE: u32 = 0> {
    values: i128,
    /// Values that have more than 64 bits and are not in any sum.
    beyond: i128,
    total: i128,
}

impl<const SCALE: u32> Sum<SCALE> {
    /// One value.
    pub fn of(value: impl Into<i128>) -> Self {
        narrow(value).map_or(Sum { beyond: 1, ..Sum::default() }, Self::of_narrow)
    }

    /// One value, or nothing for a null.
    pub fn of_nullable(value: Option<impl Into<i128>>) -> Self {
        value.map(Self::of).unwrap_or_default()
    }

    pub(super) fn of_narrow(value: i64) -> Self {
        Sum { values: 1, beyond: 0, total: value.into() }
    }

    /// How many values there are, nulls not counted.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn count(&self) -> Result<i64, Overflow> {
        let all = Overflow { values: self.values };
        if self.beyond == 0 {
            i64::try_from(self.values).map_err(|_| all)
        } else {
            Err(Overflow { values: self.beyond })
        }
    }

    /// The sum, in units of 10⁻ˢᶜᴬᴸᴱ.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn total(&self) -> Statistic<i128> {
        Ok((self.count()? > 0).then_some(self.total))
    }

    /// The arithmetic mean, in whole units.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn mean(&self) -> Statistic {
        self.with_count(|n| nearest(self.total.into(), n * unit(SCALE)))
    }

    /// Applies `logic` to the number of values, if there are any.
    pub(super) fn with_count(&self, logic: impl FnOnce(BigInt) -> Option<f64>) -> Statistic {
        let count = self.count()?;
        Ok(if count > 0 { logic(count.into()) } else { None })
    }

    pub(super) fn big_total(&self) -> BigInt {
        self.total.into()
    }

    pub(super) fn narrow_total(&self) -> i128 {
        self.total
    }

    fn add(&mut self, other: &Self) {
        self.values += other.values;
        self.beyond += other.beyond;
        self.total = self.total.wrapping_add(other.total);
    }

    fn negate(&mut self) {
        (self.values, self.beyond, self.total) = (-self.values, -self.beyond, self.total.wrapping_neg());
    }

    fn times(self, weight: i64) -> Self {
        let factor = i128::from(weight);
        Sum { values: self.values * factor, beyond: self.beyond * factor, total: self.total.wrapping_mul(factor) }
    }

    fn is_zero(&self) -> bool {
        *self == Sum::default()
    }
}

/// Count, sum and sum of squares of values in units of 10⁻ˢᶜᴬᴸᴱ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Variance<const SCALE: u32 = 0> {
    sum: Sum<SCALE>,
    squares: Wide<3>,
}

impl<const SCALE: u32> Variance<SCALE> {
    /// One value.
    pub fn of(value: impl Into<i128>) -> Self {
        let value: i128 = value.into();
        narrow(value).map_or(Variance { sum: Sum::of(value), ..Self::default() }, Self::of_narrow)
    }

    /// One value, or nothing for a null.
    pub fn of_nullable(value: Option<impl Into<i128>>) -> Self {
        value.map(Self::of).unwrap_or_default()
    }

    pub(super) fn of_narrow(value: i64) -> Self {
        Variance { sum: Sum::of_narrow(value), squares: Wide::from_unsigned(square(value)) }
    }

    /// Values of which only their number, their sum and the sum of their squares are known, in units of 10⁻ˢᶜᴬᴸᴱ and
    /// their squares. Each must have 64 bits at most.
    ///
    /// ```
    /// use differential_dataflow::difference::Semigroup;
    /// use millstream_operators::Variance;
    ///
    /// let mut values = Variance::<0>::of(3);
    /// values.plus_equals(&Variance::of(4));
    /// assert_eq!(Variance::<0>::of_sums(2, 7, 25), values);
    /// ```
    #[must_use]
    pub fn of_sums(values: i64, total: i128, squares: u128) -> Self {
        let sum = Sum { values: values.into(), beyond: 0, total };
        Variance { sum, squares: Wide::from_unsigned(squares) }
    }

    /// One value, as often as there are `others`.
    pub(super) fn repeated<const OTHER: u32>(value: i64, others: &Variance<OTHER>) -> Self {
        let times = others.sum.values;
        let narrow = i64::try_from(times).unwrap_or(i64::MAX);
        let sum = Sum { values: times, beyond: others.sum.beyond, total: i128::from(value).wrapping_mul(times) };
        Variance { sum, squares: Wide::from_unsigned(square(value)).times(narrow) }
    }

    /// Count, sum and mean.
    #[must_use]
    pub fn sum(&self) -> &Sum<SCALE> {
        &self.sum
    }

    /// The population variance, Σ(x − x̄)² / n, in squared units.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn population(&self) -> Statistic {
        self.sum.with_count(|n| nearest(self.spread(&n)?, &n * &n * unit(2 * SCALE)))
    }

    /// The sample variance, Σ(x − x̄)² / (n − 1), in squared units; undefined for one value.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn sample(&self) -> Statistic {
        self.sum.with_count(|n| nearest(self.spread(&n)?, &n * (&n - 1) * unit(2 * SCALE)))
    }

    /// The population standard deviation: the square root of [`population`](Self::population).
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn population_stddev(&self) -> Statistic {
        Ok(self.population()?.map(f64::sqrt))
    }

    /// The sample standard deviation: the square root of [`sample`](Self::sample).
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn sample_stddev(&self) -> Statistic {
        Ok(self.sample()?.map(f64::sqrt))
    }

    /// n Σx² − (Σx)², which is n Σ(x − x̄)²; `None` if that is negative, for rows that were retracted but never
    /// inserted.
    pub(super) fn spread(&self, n: &BigInt) -> Option<BigInt> {
        let spread: BigInt = n * self.squares.to_big() - self.sum.big_total().pow(2);
        (spread >= BigInt::ZERO).then_some(spread)
    }

    fn add(&mut self, other: &Self) {
        self.sum.add(&other.sum);
        self.squares.add(&other.squares);
    }

    fn negate(&mut self) {
        self.sum.negate();
        self.squares.negate();
    }

    fn times(self, weight: i64) -> Self {
        Variance { sum: self.sum.times(weight), squares: self.squares.times(weight) }
    }

    fn is_zero(&self) -> bool {
        self.sum.is_zero() && self.squares.is_zero()
    }
}

/// Count and sums of the first four powers of values in units of 10⁻ˢᶜᴬᴸᴱ.
///
/// ```
/// use millstream_operators::Moments;
/// use differential_dataflow::difference::Semigroup;
///
/// let mut prices = Moments::<2>::default(); // cents
/// [10_00, 10_00, 40_00].map(|cents| prices.plus_equals(&Moments::of(cents)));
/// assert_eq!(prices.variance().sum().mean(), Ok(Some(20.0)));
/// assert_eq!(prices.variance().sample(), Ok(Some(300.0)));
/// assert_eq!(prices.skewness(), Ok(Some(0.5_f64.sqrt())));
/// assert_eq!(prices.kurtosis(), Ok(Some(-1.5)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moments<const SCALE: u32 = 0> {
    variance: Variance<SCALE>,
    cubes: Wide<4>,
    fourths: Wide<5>,
}

impl<const SCALE: u32> Moments<SCALE> {
    /// One value.
    pub fn of(value: impl Into<i128>) -> Self {
        let value: i128 = value.into();
        narrow(value).map_or(Moments { variance: Variance::of(value), ..Self::default() }, Self::of_narrow)
    }

    /// One value, or nothing for a null.
    pub fn of_nullable(value: Option<impl Into<i128>>) -> Self {
        value.map(Self::of).unwrap_or_default()
    }

    fn of_narrow(value: i64) -> Self {
        let square = square(value);
        Moments {
            variance: Variance::of_narrow(value),
            cubes: Wide::from_unsigned(square).times(value),
            fourths: Wide::from_unsigned(square).times(value).times(value),
        }
    }

    /// Count, sum, mean, variance and standard deviation.
    #[must_use]
    pub fn variance(&self) -> &Variance<SCALE> {
        &self.variance
    }

    /// The population skewness, m₃ / m₂^(3/2) with mₖ = Σ(x − x̄)ᵏ / n; undefined if all values are equal.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn skewness(&self) -> Statistic {
        self.variance.sum.with_count(|n| {
            // n m₂·n and n m₃·n², so that the powers of n cancel; the root is taken of an exact square.
            let (spread, total) = (self.variance.spread(&n)?, self.variance.sum.big_total());
            let squares = self.variance.squares.to_big();
            let third: BigInt = &n * &n * self.cubes.to_big() - 3 * &n * &total * squares + 2 * total.pow(3);
            let root = nearest(third.pow(2), spread.pow(3))?.sqrt();
            Some(if third < BigInt::ZERO { -root } else { root })
        })
    }

    /// The population excess kurtosis, m₄ / m₂² − 3; undefined if all values are equal.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn kurtosis(&self) -> Statistic {
        self.variance.sum.with_count(|n| {
            let (spread, total) = (self.variance.spread(&n)?, self.variance.sum.big_total());
            let squares = self.variance.squares.to_big();
            let fourth: BigInt = n.pow(3) * self.fourths.to_big() - 4 * n.pow(2) * &total * self.cubes.to_big()
                + 6 * &n * total.pow(2) * squares
                - 3 * total.pow(4);
            let square = spread.pow(2);
            nearest(fourth - 3 * &square, square)
        })
    }

    fn add(&mut self, other: &Self) {
        self.variance.add(&other.variance);
        self.cubes.add(&other.cubes);
        self.fourths.add(&other.fourths);
    }

    fn negate(&mut self) {
        self.variance.negate();
        self.cubes.negate();
        self.fourths.negate();
    }

    fn times(self, weight: i64) -> Self {
        Moments {
            variance: self.variance.times(weight),
            cubes: self.cubes.times(weight),
            fourths: self.fourths.times(weight),
        }
    }

    fn is_zero(&self) -> bool {
        self.variance.is_zero() && self.cubes.is_zero() && self.fourths.is_zero()
    }
}

/// Multiplies a type by the diffs that count rows.
macro_rules! weights {
    ($name:ident<$($scale:ident),+>) => {
        weights!($name<$($scale),+>: isize, i64, i32, i16, i8);
    };
    ($name:ident<$($scale:ident),+>: $weight:ident $(, $others:ident)*) => {
        impl<$(const $scale: u32),+> Multiply<$weight> for $name<$($scale),+> {
            type Output = Self;

            fn multiply(self, weight: &$weight) -> Self {
                if *weight == 1 { self } else { self.times(*weight as i64) }
            }
        }

        weights!($name<$($scale),+>: $($others),*);
    };
    ($name:ident<$($scale:ident),+>:) => {};
}

pub(crate) use weights;

/// Makes a type that can be added, negated and multiplied by a weight the diff of an update.
macro_rules! diff {
    ($name:ident) => {
        impl<const SCALE: u32> IsZero for $name<SCALE> {
            fn is_zero(&self) -> bool {
                $name::is_zero(self)
            }
        }

        impl<const SCALE: u32> Semigroup for $name<SCALE> {
            fn plus_equals(&mut self, other: &Self) {
                self.add(other);
            }
        }

        impl<const SCALE: u32> Monoid for $name<SCALE> {
            fn zero() -> Self {
                Self::default()
            }
        }

        impl<const SCALE: u32> Abelian for $name<SCALE> {
            fn negate(&mut self) {
                $name::negate(self);
            }
        }

        weights!($name<SCALE>);
    };
}

diff!(Sum);
diff!(Variance);
diff!(Moments);

pub(super) fn narrow(value: impl Into<i128>) -> Option<i64> {
    i64::try_from(value.into()).ok()
}

fn square(value: i64) -> u128 {
    u128::from(value.unsigned_abs()).pow(2)
}

/// How many units of 10⁻ˢᶜᴬᴸᴱ make one.
pub(super) fn unit(scale: u32) -> BigInt {
    BigInt::from(10).pow(scale)
}
