//! Environment variables in values of the config file.

use std::env;

use crate::error::{Error, Result};
use crate::redacted::is_reference;

/// The value of a key, in which each `${NAME}` stands for an environment variable.
///
/// # Errors
///
/// If a variable is not set, or what follows `${` is no name. The message has the key, and not its value.
pub(super) fn expanded(key: &str, text: &str) -> Result<String> {
    let (mut value, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("${") {
        let end = rest[at..].find('}').map_or(rest.len(), |end| at + end + 1);
        let reference = &rest[at..end];
        if !is_reference(reference) {
            return Err(Error::usage(format!("{key}: wanted ${{NAME}} for the value of an environment variable")));
        }
        let name = &reference[2..reference.len() - 1];
        let found = env::var(name).ok().filter(|found| !found.is_empty());
        let found = found.ok_or_else(|| Error::usage(format!("{key}: the environment variable {name} is not set")))?;
        value.push_str(&rest[..at]);
        value.push_str(&found);
        rest = &rest[end..];
    }
    value.push_str(rest);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_wherever_they_are() {
        // Set by cargo for every test.
        let version = env!("CARGO_PKG_VERSION");
        let text = expanded("url", "a${CARGO_PKG_VERSION}b${CARGO_PKG_VERSION}c").expect("they are set");
        assert_eq!(text, format!("a{version}b{version}c"));
        assert_eq!(expanded("url", "a$b{c}").expect("no variables"), "a$b{c}");
        for (text, words) in [
            ("x${", "url: wanted ${NAME}"),
            ("${1}", "url: wanted ${NAME}"),
            ("${MILLSTREAM_NOT_SET}", "url: the environment variable MILLSTREAM_NOT_SET is not set"),
        ] {
            assert_eq!(
                expanded("url", text).map_err(|error| error.to_string()[..words.len()].to_owned()),
                Err(words.into())
            );
        }
    }
}
