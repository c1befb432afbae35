//! Integers that are written as text.

/// The text without a fraction of zeros, which programs write that hold integers as floats: 7 for 7.00.
pub(crate) fn whole(text: &str) -> &str {
    match text.split_once('.') {
        Some((integer, zeros)) if !zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0') => integer,
        _ => text,
    }
}

/// True for an integer that is written as it would be again; not for `007` and `+7`.
pub(crate) fn is_canonical(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|integer| integer.to_string() == text)
}
