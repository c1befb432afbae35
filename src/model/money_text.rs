//! Parsing and formatting money.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::money::text_to_e4;
use super::{Amount, Discount, Price};

/// The text is not a number, or out of range of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {wanted}")]
pub struct NotMoney {
    text: String,
    wanted: &'static str,
}

impl NotMoney {
    fn new(text: &str, wanted: &'static str) -> NotMoney {
        NotMoney { text: text.to_owned(), wanted }
    }
}

/// Rounded half-even to four decimals.
///
/// ```
/// use millstream::model::Price;
/// assert_eq!("19.99".parse::<Price>().map(Price::e4), Ok(19_9900));
/// assert!("a".parse::<Price>().is_err());
/// ```
impl FromStr for Price {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Price, NotMoney> {
        text_to_e4(text).and_then(Price::from_e4).ok_or_else(|| NotMoney::new(text, "price below 10^10"))
    }
}

/// A fraction, rounded half-even to four decimals: `0.15` is 15 %.
impl FromStr for Discount {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Discount, NotMoney> {
        text_to_e4(text).and_then(Discount::from_e4).ok_or_else(|| NotMoney::new(text, "discount below 10^5"))
    }
}

/// Rounded half-even to eight decimals; without an exponent.
impl FromStr for Amount {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Amount, NotMoney> {
        let e8 = text_to_e4(&format!("{text}e4")).map(Amount::from_e8);
        e8.ok_or_else(|| NotMoney::new(text, "decimal number"))
    }
}

/// With at least two decimals, without further trailing zeros.
///
/// ```
/// use millstream::model::Price;
/// let price = |e4| Price::from_e4(e4).unwrap().to_string();
/// assert_eq!([price(19_9900), price(-5), price(7_0000)], ["19.99", "-0.0005", "7.00"]);
/// ```
impl Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&decimal(self.e4().into(), 4))
    }
}

/// The fraction, with at least two decimals, without further trailing zeros.
impl Display for Discount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&decimal(self.e4().into(), 4))
    }
}

/// With at least two decimals, without further trailing zeros.
impl Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&decimal(self.e8(), 8))
    }
}

/// Formats `units` · 10^−`places`.
fn decimal(units: i128, places: usize) -> String {
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let kept = fraction.trim_end_matches('0').len().max(2);
    format!("{}{whole}.{}", if units < 0 { "-" } else { "" }, &fraction[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_survive_their_text() {
        for e8 in [0, 1, -1, 150_000_000, 12_345_678_901, -99_999_999] {
            let amount = Amount::from_e8(e8);
            assert_eq!(amount.to_string().parse(), Ok(amount));
        }
        assert_eq!(Amount::from_e8(250_000_000).to_string(), "2.50");
        assert!("".parse::<Amount>().is_err());
    }
}
