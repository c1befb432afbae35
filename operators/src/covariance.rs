//! Statistics of pairs as diffs: covariance and correlation, exact under retraction.
//!
//! As in [`Moments`](super::Moments), the sums that a group's statistics need ride in the diff; widths, nulls and
//! overflow are as there.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Multiply, Semigroup};
use serde::{Deserialize, Serialize};

use crate::moments::{Statistic, Variance, narrow, unit, weights};
use crate::wide::{BigInt, Wide, nearest};

/// Count and sums of pairs of values, x in units of 10⁻ˣ and y in units of 10⁻ʸ, with their squares and products.
///
/// A pair with a null in it counts nowhere.
///
/// ```
/// use millstream_operators::Covariance;
/// use differential_dataflow::difference::Semigroup;
///
/// let mut pairs = Covariance::<0, 0>::default();
/// [(1, 2), (2, 4), (3, 9)].map(|(x, y)| pairs.plus_equals(&Covariance::of(x, y)));
/// assert_eq!(pairs.sample(), Ok(Some(3.5)));
/// assert_eq!(pairs.x().sample(), Ok(Some(1.0)));
/// assert!(pairs.correlation().unwrap().unwrap() > 0.97);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Covariance<const X: u32 = 0, const Y: u32 = 0> {
    x: Variance<X>,
    y: Variance<Y>,
    products: Wide<3>,
}

impl<const X: u32, const Y: u32> Covariance<X, Y> {
    /// One pair.
    pub fn of(x: impl Into<i128>, y: impl Into<i128>) -> Self {
        let (Some(x), Some(y)) = (narrow(x), narrow(y)) else {
            let beyond = i128::MAX;
            return Covariance { x: Variance::of(beyond), y: Variance::of(beyond), ..Self::default() };
        };
        let products = Wide::from_unsigned(u128::from(x.unsigned_abs())).times(y);
        let products = if x < 0 { products.times(-1) } else { products };
        Covariance { x: Variance::of_narrow(x), y: Variance::of_narrow(y), products }
    }

    /// A pair for each of some values of y, with the same x in all of them.
    ///
    /// Where x belongs to a group and y to its rows, the pairs of many rows cost as much as one.
    ///
    /// ```
    /// use differential_dataflow::difference::Semigroup;
    /// use millstream_operators::{Covariance, Variance};
    ///
    /// let mut pairs = Covariance::<0, 0>::of(7, -2);
    /// pairs.plus_equals(&Covariance::of(7, 5));
    /// assert_eq!(Covariance::of_same_x(7, &Variance::of_sums(2, 3, 29)), pairs);
    /// ```
    #[must_use]
    pub fn of_same_x(x: i64, y: &Variance<Y>) -> Self {
        let total = y.sum().narrow_total();
        let products = Wide::from_unsigned(total.unsigned_abs()).times(x);
        let products = if total < 0 { products.times(-1) } else { products };
        Covariance { x: Variance::repeated(x, y), y: *y, products }
    }

    /// One pair, or zero if either value is null.
    pub fn of_nullable(x: Option<impl Into<i128>>, y: Option<impl Into<i128>>) -> Self {
        x.zip(y).map(|(x, y)| Self::of(x, y)).unwrap_or_default()
    }

    /// The statistics of x, over the pairs.
    #[must_use]
    pub fn x(&self) -> &Variance<X> {
        &self.x
    }

    /// The statistics of y, over the pairs.
    #[must_use]
    pub fn y(&self) -> &Variance<Y> {
        &self.y
    }

    /// The population covariance, Σ(x − x̄)(y − ȳ) / n.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn population(&self) -> Statistic {
        self.x.sum().with_count(|n| nearest(self.spread(&n), &n * &n * unit(X + Y)))
    }

    /// The sample covariance, Σ(x − x̄)(y − ȳ) / (n − 1); undefined for one pair.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn sample(&self) -> Statistic {
        self.x.sum().with_count(|n| nearest(self.spread(&n), &n * (&n - 1) * unit(X + Y)))
    }

    /// Pearson's correlation, from −1 to 1; undefined if all x or all y are equal.
    ///
    /// # Errors
    /// If there are values that do not fit.
    pub fn correlation(&self) -> Statistic {
        self.x.sum().with_count(|n| {
            let spread = self.spread(&n);
            let root = nearest(spread.pow(2), self.x.spread(&n)? * self.y.spread(&n)?)?.sqrt();
            Some(if spread < BigInt::ZERO { -root } else { root })
        })
    }

    fn times(self, weight: i64) -> Self {
        Covariance { x: self.x.multiply(&weight), y: self.y.multiply(&weight), products: self.products.times(weight) }
    }

    /// n Σxy − Σx Σy.
    fn spread(&self, n: &BigInt) -> BigInt {
        n * self.products.to_big() - self.x.sum().big_total() * self.y.sum().big_total()
    }
}

impl<const X: u32, const Y: u32> IsZero for Covariance<X, Y> {
    fn is_zero(&self) -> bool {
        self.x.is_zero() && self.y.is_zero() && self.products.is_zero()
    }
}

impl<const X: u32, const Y: u32> Semigroup for Covariance<X, Y> {
    fn plus_equals(&mut self, other: &Self) {
        self.x.plus_equals(&other.x);
        self.y.plus_equals(&other.y);
        self.products.add(&other.products);
    }
}

impl<const X: u32, const Y: u32> Monoid for Covariance<X, Y> {
    fn zero() -> Self {
        Self::default()
    }
}

impl<const X: u32, const Y: u32> Abelian for Covariance<X, Y> {
    fn negate(&mut self) {
        self.x.negate();
        self.y.negate();
        self.products.negate();
    }
}

weights!(Covariance<X, Y>);
