//! Names of files and folders: their order, and the escaping of `key=value` folder names.

use std::cmp::Ordering;

/// The value that represents null in a `key=value` folder name.
pub(crate) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Decodes the `%XX` escapes of a folder name.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Escapes a value for a folder name: the inverse of `decode`.
pub(crate) fn encode(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || "\"#%'*/:=?\\{}[]^".contains(character) {
            let mut utf8 = [0; 4];
            character.encode_utf8(&mut utf8).bytes().for_each(|byte| name.push_str(&format!("%{byte:02X}")));
        } else {
            name.push(character);
        }
    }
    name
}

/// The order of names in which numbers count by value: `day-9` is before `day-10`.
pub(crate) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(one), Some(other)) = (left.chars().next(), right.chars().next()) {
        let (of_left, of_right) = (digits(left), digits(right));
        if !of_left.is_empty() && !of_right.is_empty() {
            let value = |digits: &str| digits.trim_start_matches('0').to_owned();
            let (number, other) = (value(of_left), value(of_right));
            let order = number.len().cmp(&other.len()).then_with(|| number.cmp(&other));
            if order.is_ne() {
                return order;
            }
            (left, right) = (&left[of_left.len()..], &right[of_right.len()..]);
        } else if one != other {
            return one.cmp(&other);
        } else {
            (left, right) = (&left[one.len_utf8()..], &right[one.len_utf8()..]);
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_survive_any_text() {
        for text in ["plain", "a/b=c", "100%", "100%25", "ünïcode ☕", "%zz", ""] {
            assert_eq!(decode(&encode(text)), text);
        }
        assert_eq!(decode("a%2"), "a%2");
    }
}
