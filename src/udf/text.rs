//! Texts that people typed.

use crate::model::{Text, cleaned};

use super::Udf;

/// `clean_text`: trimmed, in lower case, each run of two spaces made one; null of null.
///
/// Spaces are replaced in one pass from the left, as SQL's `replace` does: of three in a row, two are left.
///
/// ```
/// use millstream::udf::clean_text;
/// assert_eq!(clean_text().call(Some("  Green  TEA ".into())), Ok(Some("green tea".into())));
/// ```
#[must_use]
pub fn clean_text() -> Udf<Text, Text> {
    Udf::scalar("clean_text", |text: Text| cleaned(&text))
}
