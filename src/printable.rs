//! Texts from files, for terminals and logs.

/// The text with its control characters escaped, so that it can neither move a cursor nor begin a line.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => printable.extend(character.escape_default()),
            false => printable.push(character),
        }
    }
    printable
}
