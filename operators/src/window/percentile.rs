//! Exact percentiles of the order key.

use differential_dataflow::Data;
use serde::{Deserialize, Serialize};

use super::Functions;
use super::function::{At, Epoch, Rows, Span, WindowFunction};

impl<O, D> Functions<O, D> {
    /// The value in the middle of the partition, by order key: of an even number, between the two.
    ///
    /// See [`percentile`](Self::percentile).
    #[must_use]
    pub fn median(self) -> Percentile {
        self.percentile(1, 2)
    }

    /// The value below which `part` of `whole` of the partition lies, by order key.
    ///
    /// It stands at place (n − 1) · `part` / `whole` of the n rows, counted from 0 (SQL's `percentile_cont`, Spark's
    /// `percentile`); where that is between two rows, the answer tells both and how far it is between them. Nulls are for
    /// the caller to filter: they are rows like others.
    ///
    /// Made for [per-partition](super::Window::per_partition) answers, where a change emits ≤ 2 updates at O(log n). For
    /// every row, all rows are looked at.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Between, WindowExt};
    /// # timely::example(|scope| {
    /// let ages = scope.new_collection_from([20, 30, 50, 90]).1;
    /// let quarter = ages.window(|_| 'S', |age| *age).per_partition(|w| w.percentile(1, 4));
    /// let found = Between { lower: 20, upper: 30, part: 3, whole: 4 };
    /// quarter.assert_eq(scope.new_collection_from([('S', Some(found.clone()))]).1);
    /// assert_eq!(found.interpolate(|age| f64::from(*age)), 27.5);
    /// # });
    /// ```
    ///
    /// # Panics
    /// If `part` is greater than `whole`, or `whole` is zero.
    #[must_use]
    pub fn percentile(self, part: u32, whole: u32) -> Percentile {
        assert!(whole > 0 && part <= whole, "percentile: found {part} of {whole}, wanted a fraction from 0 to 1");
        Percentile { part, whole }
    }
}

/// See [`Functions::percentile`].
#[derive(Clone, Copy, Debug)]
pub struct Percentile {
    part: u32,
    whole: u32,
}

/// A place between two order keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Between<O> {
    /// The order key before it, or at it.
    pub lower: O,
    /// The order key behind it; the same if the place is a row's.
    pub upper: O,
    /// How far it is from the one to the other, as a fraction: numerator.
    pub part: u32,
    /// How far it is from the one to the other, as a fraction: denominator.
    pub whole: u32,
}

impl<O> Between<O> {
    /// The value between the two, on a straight line.
    pub fn interpolate(&self, value: impl Fn(&O) -> f64) -> f64 {
        let (lower, upper) = (value(&self.lower), value(&self.upper));
        lower + (upper - lower) * f64::from(self.part) / f64::from(self.whole)
    }
}

impl<O: Data, D: Ord + 'static> WindowFunction<O, D> for Percentile {
    type Answer = Option<Between<O>>;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: Rows<'a, O, D, Summary = ()>>(&self, at: &At<'a, '_, O, D, R>) -> Option<Between<O>> {
        let (part, whole) = (u128::from(self.part), u128::from(self.whole));
        let place = u128::from(at.rows.len() - 1) * part;
        let lower = u64::try_from(place / whole).expect("a position among the rows");
        let part = u32::try_from(place % whole).expect("less than the whole");
        let ((upper, _), _) = at.rows.entry(lower + u64::from(part > 0))?;
        let ((lower, _), _) = at.rows.entry(lower)?;
        Some(Between { lower: lower.clone(), upper: upper.clone(), part, whole: self.whole })
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        epoch.reach_all(spans);
    }
}
