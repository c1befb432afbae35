//! Functions on user-entered text.

use crate::model::{Text, cleaned};

use super::function::Udf;

/// `clean_text`: trims, lower-cases, and replaces double spaces by single ones; null for null.
///
/// Replacement is one pass from the left, like SQL's `replace`: three spaces become two.
///
/// ```
/// use millstream::udf::clean_text;
/// assert_eq!(clean_text().call(Some("  Green  TEA ".into())), Ok(Some("green tea".into())));
/// ```
#[must_use]
pub fn clean_text() -> Udf<Text, Text> {
    Udf::scalar("clean_text", |text: Text| cleaned(&text))
}
