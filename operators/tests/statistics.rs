//! Statistics against their definitions, worked out in fractions without rounding.

use differential_dataflow::difference::{Abelian, IsZero, Multiply, Semigroup};
use millstream_operators::{Covariance, Moments, Overflow, Sum, Variance};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{ToPrimitive, Zero};
use proptest::collection::vec;
use proptest::prelude::*;

fn fraction(number: i64) -> BigRational {
    BigRational::from_integer(BigInt::from(number))
}

fn mean(values: &[BigRational]) -> BigRational {
    values.iter().sum::<BigRational>() / count(values)
}

fn count(values: &[BigRational]) -> BigRational {
    fraction(i64::try_from(values.len()).expect("few"))
}

/// Σ(x − x̄)ᵏ.
fn central(values: &[BigRational], power: i32) -> BigRational {
    let mean = mean(values);
    values.iter().map(|value| (value - &mean).pow(power)).sum()
}

fn float(fraction: &BigRational) -> f64 {
    fraction.to_f64().expect("a fraction is a number")
}

/// Equal up to the last few bits, where a root was taken.
fn close(found: Option<f64>, expected: Option<f64>) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => {
            (found - expected).abs() <= 4.0 * f64::EPSILON * expected.abs().max(f64::MIN_POSITIVE)
        }
        (found, expected) => found.is_none() && expected.is_none(),
    }
}

/// Small values, with ties, and some as wide as there are.
fn values() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -5..6_i64, 2 => any::<i32>().prop_map(i64::from), 1 => any::<i64>()]
}

/// The state of rows that came one by one, some of them twice and taken back, in two parts that were then added.
fn sum_of<R: Semigroup + Abelian + Default + Multiply<isize, Output = R>>(terms: &[R]) -> R {
    let (mut left, mut right) = (R::default(), R::default());
    for (nth, term) in terms.iter().enumerate() {
        let side = if nth % 3 == 0 { &mut left } else { &mut right };
        side.plus_equals(&term.clone().multiply(&3));
        let mut twice = term.clone().multiply(&2);
        twice.negate();
        left.plus_equals(&twice);
    }
    right.plus_equals(&left);
    right
}

proptest! {
    #[test]
    fn moments_are_those_of_the_definition(values in vec(values(), 1..12)) {
        let moments: Moments<2> = sum_of(&values.iter().map(|value| Moments::of(*value)).collect::<Vec<_>>());
        let exact: Vec<_> = values.iter().map(|value| fraction(*value) / fraction(100)).collect();
        let n = count(&exact);
        let variance = moments.variance();
        prop_assert_eq!(variance.sum().count(), Ok(i64::try_from(values.len()).expect("few")));
        prop_assert_eq!(variance.sum().total(), Ok(Some(values.iter().map(|value| i128::from(*value)).sum())));
        prop_assert_eq!(variance.sum().mean(), Ok(Some(float(&mean(&exact)))));
        let square = central(&exact, 2);
        prop_assert_eq!(variance.population(), Ok(Some(float(&(&square / &n)))));
        prop_assert_eq!(variance.population_stddev(), Ok(Some(float(&(&square / &n)).sqrt())));
        let sample = (values.len() > 1).then(|| float(&(&square / (&n - fraction(1)))));
        prop_assert_eq!(variance.sample(), Ok(sample));
        prop_assert_eq!(variance.sample_stddev(), Ok(sample.map(f64::sqrt)));
        let skewness = (!square.is_zero()).then(|| {
            let third = central(&exact, 3) / &n;
            let squared = &third * &third / (&square / &n).pow(3);
            float(&squared).sqrt() * if third < BigRational::zero() { -1.0 } else { 1.0 }
        });
        prop_assert!(close(moments.skewness().expect("fits"), skewness), "{:?} is {:?}", moments.skewness(), skewness);
        let kurtosis = (!square.is_zero())
            .then(|| float(&(central(&exact, 4) / &n / (&square / &n).pow(2) - fraction(3))));
        prop_assert_eq!(moments.kurtosis(), Ok(kurtosis));
    }

    #[test]
    fn covariance_is_that_of_the_definition(pairs in vec((values(), values()), 1..12)) {
        let covariance: Covariance<1, 3> = sum_of(&pairs.iter().map(|(x, y)| Covariance::of(*x, *y)).collect::<Vec<_>>());
        let xs: Vec<_> = pairs.iter().map(|(x, _)| fraction(*x) / fraction(10)).collect();
        let ys: Vec<_> = pairs.iter().map(|(_, y)| fraction(*y) / fraction(1000)).collect();
        let (n, mean_x, mean_y) = (count(&xs), mean(&xs), mean(&ys));
        let product: BigRational = xs.iter().zip(&ys).map(|(x, y)| (x - &mean_x) * (y - &mean_y)).sum();
        prop_assert_eq!(covariance.population(), Ok(Some(float(&(&product / &n)))));
        let sample = (pairs.len() > 1).then(|| float(&(&product / (&n - fraction(1)))));
        prop_assert_eq!(covariance.sample(), Ok(sample));
        prop_assert_eq!(covariance.x().population(), Ok(Some(float(&(central(&xs, 2) / &n)))));
        let spread = central(&xs, 2) * central(&ys, 2);
        let correlation = (!spread.is_zero()).then(|| {
            float(&(&product * &product / &spread)).sqrt() * if product < BigRational::zero() { -1.0 } else { 1.0 }
        });
        prop_assert!(close(covariance.correlation().expect("fits"), correlation));
        prop_assert!(covariance.correlation().expect("fits").is_none_or(|found| (-1.0..=1.0).contains(&found)));
    }

    /// What is taken back leaves nothing.
    #[test]
    fn a_sum_and_its_retraction_is_zero(values in vec(values(), 0..12)) {
        let mut moments = Moments::<0>::default();
        let mut both = Covariance::<0, 0>::default();
        for value in values.iter().chain(&values) {
            moments.plus_equals(&Moments::of(*value).multiply(&7));
            both.plus_equals(&Covariance::of(*value, !*value));
        }
        for value in &values {
            moments.plus_equals(&Moments::of(*value).multiply(&-14));
            both.plus_equals(&Covariance::of(*value, !*value).multiply(&-2));
        }
        prop_assert!(moments.is_zero() && both.is_zero());
    }
}

#[test]
fn nothing_is_undefined_and_counts_zero() {
    let nothing = Moments::<4>::of_nullable(None::<i64>);
    assert!(nothing.is_zero());
    assert_eq!(nothing.variance().sum().count(), Ok(0));
    assert_eq!(nothing.variance().sum().total(), Ok(None));
    assert_eq!(nothing.variance().sum().mean(), Ok(None));
    assert_eq!(nothing.variance().population(), Ok(None));
    assert_eq!(nothing.skewness(), Ok(None));
    assert_eq!(nothing.kurtosis(), Ok(None));
    assert_eq!(Covariance::<0, 0>::of_nullable(Some(1), None::<i64>), Covariance::default());
}

#[test]
fn equal_values_have_no_skewness_and_no_correlation() {
    let seven = Moments::<0>::of(7).multiply(&3_isize);
    assert_eq!((seven.skewness(), seven.kurtosis()), (Ok(None), Ok(None)));
    assert_eq!(seven.variance().sample(), Ok(Some(0.0)));
    let mut pairs = Covariance::<0, 0>::of(7, 1);
    pairs.plus_equals(&Covariance::of(7, 2));
    assert_eq!((pairs.correlation(), pairs.sample()), (Ok(None), Ok(Some(0.0))));
    assert_eq!(Variance::<0>::of(7).sample(), Ok(None));
}

#[test]
fn a_value_beyond_64_bits_is_an_error_until_it_is_taken_back() {
    let before = sum_of(&[Moments::<0>::of(1), Moments::of(2)]);
    let mut moments = before;
    let huge = Moments::of(1_i128 << 100);
    moments.plus_equals(&huge.multiply(&2));
    assert_eq!(moments.skewness(), Err(Overflow { values: 2 }));
    assert_eq!(moments.variance().sum().total(), Err(Overflow { values: 2 }));
    moments.plus_equals(&huge.multiply(&-2));
    assert_eq!(moments, before);
    assert_eq!(Covariance::<0, 0>::of(1_i128 << 64, 1).sample(), Err(Overflow { values: 1 }));
    let said = moments.variance().sum().count().map_err(|error| error.to_string());
    assert_eq!(said, Ok(2));
    assert_eq!(
        huge.kurtosis().unwrap_err().to_string(),
        "found 1 value that does not fit, wanted at most 64 bits and 2⁶³ rows"
    );
}

/// A row that was taken back and never there: what has no meaning is undefined, not a number.
#[test]
fn what_has_no_meaning_is_undefined() {
    let mut variance = Variance::<0>::of(0).multiply(&5_isize);
    variance.plus_equals(&Variance::of(10).multiply(&-2_isize));
    assert_eq!((variance.population(), variance.sample_stddev()), (Ok(None), Ok(None)));
    assert_eq!(Sum::<0>::of(3).multiply(&-1_isize).mean(), Ok(None));
}

/// The widest values, as often as there can be: every sum is at its bound and right, and one more row is an error.
#[test]
fn sums_at_their_bounds_are_right() {
    let most = isize::MAX;
    let widest = Moments::<0>::of(i64::MIN).multiply(&most);
    assert_eq!(widest.variance().sum().mean(), Ok(Some(i64::MIN as f64)));
    assert_eq!(widest.variance().population(), Ok(Some(0.0)));
    let mut both = Moments::<0>::of(i64::MIN).multiply(&(most / 2));
    both.plus_equals(&Moments::of(i64::MAX).multiply(&(most / 2)));
    assert_eq!(both.kurtosis(), Ok(Some(-2.0)));
    let mut more = widest;
    more.plus_equals(&Moments::of(1));
    assert_eq!(more.variance().sum().count(), Err(Overflow { values: 1 << 63 }));
    more.plus_equals(&Moments::of(1).multiply(&-1));
    assert_eq!(more, widest);
    assert_eq!(Sum::<0>::of(5).multiply(&most).total(), Ok(Some(5 * i128::from(i64::MAX))));
}
