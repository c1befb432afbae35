//! What is wrong with a config file, in the words of its author rather than of its parser.

use serde::de::DeserializeOwned;

use crate::redacted::{is_secret, without_credentials};

/// Parses YAML 1.2, which has no other booleans than true and false: a column may be called no.
///
/// # Errors
///
/// If it is not YAML, or not of this type. The message has the line, what it says, and what is wanted.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| explained(text, &error.to_string()))
}

/// The parser's words for a mistake, and ours.
const WORDS: &[(&str, &str)] = &[
    ("invalid u64", "wanted a whole number, not negative"),
    ("invalid u32", "wanted a whole number, not negative"),
    ("invalid usize", "wanted a whole number, not negative"),
    ("invalid i64", "wanted a whole number"),
    ("invalid floating point", "wanted a number"),
    ("expected sequence start", "wanted a list, such as [a, b]"),
    ("expected mapping start", "wanted keys with values, such as {key: value}"),
    ("expected string scalar", "wanted a text"),
    (
        "cannot deserialize null",
        "found nothing, wanted a value; a text that looks like nothing, such as null, needs quotes",
    ),
    ("data did not match any variant of untagged enum Scalar", "wanted a number"),
    ("data did not match any variant", "wanted a name, or a list of names"),
    ("wanted a column,", "wanted a column, or a column for each table: {orders: updated_at}"),
    ("multiple", "wanted one document, without a line of three dashes between two"),
];

/// A message of the parser: `error: line 1 column 15: invalid u64`, then lines that show the place.
fn explained(text: &str, message: &str) -> String {
    let first = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let Some((place, cause)) = first.split_once(": ") else { return first.to_owned() };
    let known = WORDS.iter().find(|(theirs, _)| cause.starts_with(theirs)).map(|(_, ours)| (*ours).to_owned());
    let key = cause.strip_prefix("duplicate mapping key: ").and_then(|rest| rest.split(',').next());
    let cause = known.or(key.map(|key| format!("duplicate key {key}"))).unwrap_or_else(|| {
        let plain = cause.replace("unknown variant", "unknown value").replace("expected one of", "wanted one of");
        plain.replace("missing field", "without the key").replace('`', "")
    });
    let line = place.strip_prefix("line ").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    let line = line.and_then(|line| text.lines().nth(line.checked_sub(1)?)).map(str::trim);
    // A line is not quoted that may have a secret.
    match line.filter(|line| !line.is_empty() && !is_secret(line)) {
        Some(line) => format!("{}: {cause}: {}", place.replace(" column", ", column"), without_credentials(line)),
        None => format!("{}: {cause}", place.replace(" column", ", column")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_without_words_of_the_parser() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default)]
        struct Keys {
            _number: Option<u64>,
            _share: Option<f64>,
            _names: Option<Vec<String>>,
            _text: Option<String>,
        }
        for (text, message) in [
            ("_number: many", "line 1, column 10: wanted a whole number, not negative: _number: many"),
            ("# x\n_number: -1", "line 2, column 10: wanted a whole number, not negative: _number: -1"),
            ("_share: half", "line 1, column 9: wanted a number: _share: half"),
            ("_names: a", "line 1, column 9: wanted a list, such as [a, b]: _names: a"),
            ("_text: [a]", "line 1, column 8: wanted a text: _text: [a]"),
            ("_text: [token]", "line 1, column 8: wanted a text"),
            ("_text: ['p://a:b@c/d']", "line 1, column 8: wanted a text: _text: ['p://(a secret)@c/d']"),
            ("_number: 1\n_number: 2", "line 2, column 1: duplicate key _number: _number: 2"),
        ] {
            assert_eq!(parse::<Keys>(text).map(drop), Err(message.to_owned()));
        }
        assert!(parse::<Keys>("_text: no").is_ok());
        assert!(parse::<Keys>("'abc").is_err_and(|message| message.contains("quote")));
    }
}
