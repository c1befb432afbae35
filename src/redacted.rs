//! Texts without secrets, for messages and for files that are given to others.

#[cfg(feature = "cli")]
use serde_json::Value;

/// Stands for a secret.
pub(crate) const HIDDEN: &str = "(a secret)";

/// Parts of the names of keys whose values are secrets.
const SECRET_NAMES: [&str; 8] =
    ["token", "password", "passphrase", "secret", "credential", "access_key", "api_key", "key.pem"];

/// True for the name of a key whose value is a secret; not if that is the name of a file that has it.
pub(crate) fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    !key.ends_with("_file") && SECRET_NAMES.iter().any(|name| key.contains(name))
}

/// True for a reference to an environment variable, `${NAME}`.
pub(crate) fn is_reference(text: &str) -> bool {
    let name = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
    let is_word = |name: &str| name.chars().all(|part| part.is_ascii_alphanumeric() || part == '_');
    name.is_some_and(|name| is_word(name) && name.starts_with(|first: char| !first.is_ascii_digit()))
}

/// A config file without its secrets.
#[cfg(feature = "cli")]
pub(crate) fn without_secrets(value: Value) -> Value {
    let is_shown = |value: &Value| value.is_null() || value.as_str().is_some_and(is_reference);
    match value {
        Value::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| match value {
                // Of a client, which may be secrets of any name.
                Value::Object(properties) if key == "properties" => {
                    let hidden = |(name, value)| (name, if is_shown(&value) { value } else { HIDDEN.into() });
                    (key, properties.into_iter().map(hidden).collect())
                }
                value if is_secret(&key) && !is_shown(&value) => (key, HIDDEN.into()),
                value => (key, without_secrets(value)),
            })
            .collect(),
        Value::Array(values) => values.into_iter().map(without_secrets).collect(),
        other => other,
    }
}

/// A text whose URLs have lost their credentials, and the parameters whose names say that they are secrets.
pub(crate) fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        let end = after.find(|one: char| "/?#,\"'<>".contains(one) || one.is_whitespace()).unwrap_or(after.len());
        shown.push_str(before);
        match after[..end].rfind('@') {
            Some(at) => {
                shown.push_str(HIDDEN);
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    shown.push_str(&without_user(rest));
    SECRET_NAMES.iter().fold(shown, |text, name| without_parameter(&text, name))
}

/// A text without `user:password@`, as where somebody has forgotten `http://`.
fn without_user(text: &str) -> String {
    let is_end = |one: char| "/?#,\"'<>".contains(one) || one.is_whitespace();
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(is_end) {
        match part.rsplit_once('@') {
            Some((user, host)) if user.contains(':') => shown.extend([HIDDEN, "@", host]),
            _ => shown.push_str(part),
        }
    }
    shown
}

/// A text in which the values of a parameter, `name=value`, are hidden.
fn without_parameter(text: &str, name: &str) -> String {
    let parameter = format!("{name}=");
    let mut parts = text.split(&parameter);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|one: char| "&,;\"'".contains(one) || one.is_whitespace()).unwrap_or(part.len());
        let value = if end == 0 { "" } else { HIDDEN };
        shown.push_str(&format!("{name}={value}{}", &part[end..]));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hidden_and_the_rest_stays() {
        for (text, shown) in [
            ("postgres://shop:s@db:5432/shop?x=@", "postgres://(a secret)@db:5432/shop?x=@"),
            ("a://u:1@h/x,b://v@i/y and c://h/@x", "a://(a secret)@h/x,b://(a secret)@i/y and c://h/@x"),
            ("c://h/?password=s&x=1 token=", "c://h/?password=(a secret)&x=1 token="),
            ("no://", "no://"),
            ("user@host", "user@host"),
            ("found u:s3cret@h:1, wanted http:/u:s3cret@h/", "found (a secret)@h:1, wanted http:/(a secret)@h/"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
        assert!(
            is_secret("Serve_TOKEN") && is_secret("sasl.password") && !is_secret("token_file") && !is_secret("key")
        );
        assert!(
            is_reference("${A_1}") && !["${A:-x}", "${A}x}", "${1}", "${}", "$A"].iter().any(|text| is_reference(text))
        );
    }
}
