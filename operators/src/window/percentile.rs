//! Exact percentiles of the order key.

use differential_dataflow::Data;
use serde::{Deserialize, Serialize};

use super::function::{AffectedRange, ChangedPartition, CurrentRow, PartitionRows, WindowFunction};
use super::functions::Functions;

impl<O, D> Functions<O, D> {
    /// The median of the partition's order keys: [`percentile`](Self::percentile) 1/2. For an even number of rows it
    /// lies between the two in the middle.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let ages = scope.new_collection_from([20, 30, 90]).1;
    /// let median = window(ages, "Median age", |_| (), |age| *age).per_partition(|w| w.median());
    /// median.map(|(_, median)| median.unwrap().lower).assert_eq(scope.new_collection_from([30]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn median(self) -> Percentile {
        self.percentile(1, 2)
    }

    /// The percentile `part` / `whole` of the partition's order keys: SQL's `percentile_cont`, Spark's `percentile`.
    ///
    /// It lies at position (n − 1) · `part` / `whole` of the n rows, counted from 0. Between two rows, the answer has
    /// both order keys and the distance between them, exactly. Nulls count as rows; filter them first.
    ///
    /// *Updates per change*: ≤ 2 with [`per_partition`](super::Window::per_partition), for which it is meant, at O(log
    /// n). With [`select`](super::Window::select), a change evaluates the whole partition.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let ages = scope.new_collection_from([20, 30, 50, 90]).1;
    /// let quarter = window(ages, "Ages", |_| 'S', |age| *age).per_partition(|w| w.percentile(1, 4));
    /// let found = PercentileValue { lower: 20, upper: 30, part: 3, whole: 4 };
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

/// A percentile: an order key, or a point between two order keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PercentileValue<O> {
    /// The greatest order key at or below the percentile.
    pub lower: O,
    /// The least order key at or above the percentile.
    pub upper: O,
    /// The distance from `lower` to the percentile as a fraction of the distance to `upper`: the numerator.
    pub part: u32,
    /// The denominator of that fraction.
    pub whole: u32,
}

impl<O> PercentileValue<O> {
    /// The percentile by linear interpolation, with `value` as the number that an order key stands for.
    pub fn interpolate(&self, value: impl Fn(&O) -> f64) -> f64 {
        let (lower, upper) = (value(&self.lower), value(&self.upper));
        lower + (upper - lower) * f64::from(self.part) / f64::from(self.whole)
    }
}

impl<O: Data, D: Ord + 'static> WindowFunction<O, D> for Percentile {
    type Answer = Option<PercentileValue<O>>;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        at: &CurrentRow<'a, '_, O, D, R>,
    ) -> Option<PercentileValue<O>> {
        let (part, whole) = (u128::from(self.part), u128::from(self.whole));
        let place = u128::from(at.rows.len() - 1) * part;
        let lower = u64::try_from(place / whole).expect("a position among the rows");
        let part = u32::try_from(place % whole).expect("less than the whole");
        let ((upper, _), _) = at.rows.entry(lower + u64::from(part > 0))?;
        let ((lower, _), _) = at.rows.entry(lower)?;
        Some(PercentileValue { lower: lower.clone(), upper: upper.clone(), part, whole: self.whole })
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        partition.reach_all(affected);
    }
}
