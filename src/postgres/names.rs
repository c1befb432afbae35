//! Names in SQL.

use std::collections::HashSet;

/// A name in quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table of a schema, in quotes.
pub(crate) fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(table))
}

/// A text in quotes, as a literal.
pub(crate) fn literal(text: &str) -> String {
    // An E has the same meaning whatever the setting of `standard_conforming_strings` is.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Names that every table has already.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// The longest name of the server, in bytes.
const LONGEST: usize = 63;

/// Names that need no quotes, each different: lower case, with `_` for all but letters, digits and `_`.
///
/// Where two of them are the same then, the second has a number behind it.
pub(crate) fn plain_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    let distinct = |name: &str| {
        let plain = plain(name);
        let numbered = (2..).map(|number| {
            let end = format!("_{number}");
            format!("{}{end}", &plain[..plain.len().min(LONGEST - end.len())])
        });
        let mut candidates = std::iter::once(plain.clone()).chain(numbered);
        candidates.find(|candidate| taken.insert(candidate.clone())).unwrap_or_default()
    };
    names.map(distinct).collect()
}

fn plain(name: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' };
    let mut plain: String = name.chars().map(letter).collect();
    if plain.is_empty() || plain.starts_with(|first: char| first.is_ascii_digit()) {
        plain.insert(0, '_');
    }
    if SYSTEM_COLUMNS.contains(&plain.as_str()) {
        plain.push('_');
    }
    plain.truncate(LONGEST);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_need_no_quotes_and_differ() {
        let names = ["order_id", "Zip Code", "zip-code", "1st", "CTID", &"x".repeat(70), &"x".repeat(64)];
        let plain = plain_names(names.into_iter());
        let long = "x".repeat(63);
        assert_eq!(plain[..5], ["order_id", "zip_code", "zip_code_2", "_1st", "ctid_"]);
        assert_eq!(plain[5..], [long.clone(), format!("{}_2", &long[..61])]);
        assert_eq!(qualified("a\"b", "c"), "\"a\"\"b\".\"c\"");
        assert_eq!(literal("it's a \\"), "E'it''s a \\\\'");
    }
}
