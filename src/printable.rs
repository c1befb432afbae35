//! Texts from files, for terminals and logs.

/// The text with its control characters escaped, so that it can neither move a cursor nor begin a line, nor turn the
/// direction in which others are read.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match character.is_control() || turns {
            true => printable.extend(character.escape_default()),
            false => printable.push(character),
        }
    }
    printable
}
