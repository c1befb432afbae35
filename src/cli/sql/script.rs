//! The statements of a text.

/// A text, at the semicolons that are not in quotes or comments.
pub(super) struct Script {
    /// Without their semicolons.
    pub(super) statements: Vec<String>,
    /// What stands behind the last semicolon; empty if it has nothing but comments.
    pub(super) rest: String,
}

impl Script {
    pub(super) fn of(text: &str) -> Script {
        let (mut statements, mut begin, mut has_some) = (Vec::new(), 0, false);
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let at = text.len() - rest.len();
            // What stands before it in the same word.
            let word = || &text[text[..at].trim_end_matches(is_of_word).len()..at];
            let length = match letter {
                '\'' if word().eq_ignore_ascii_case("e") => escaped(rest),
                '\'' | '"' => quoted(rest, letter),
                '$' if word().is_empty() => dollar_quoted(rest),
                '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => commented(rest),
                letter => letter.len_utf8(),
            };
            let is_comment = rest.starts_with("--") || rest.starts_with("/*");
            if letter == ';' {
                statements.extend(has_some.then(|| text[begin..at].trim().to_owned()));
                (begin, has_some) = (at + 1, false);
            } else {
                has_some |= !is_comment && !letter.is_whitespace();
            }
            rest = &rest[length..];
        }
        let rest = if has_some { text[begin..].trim().to_owned() } else { String::new() };
        Script { statements, rest }
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// The length of a text in which a backslash escapes a quote.
fn escaped(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a quoted text; a doubled quote is two quoted texts.
fn quoted(text: &str, quote: char) -> usize {
    text[1..].find(quote).map_or(text.len(), |end| end + 2)
}

/// The length of a text between `$tag$` and `$tag$`; 1 if there is none, as of a parameter.
fn dollar_quoted(text: &str) -> usize {
    let Some(end) = text[1..].find('$') else { return 1 };
    let tag = &text[..end + 2];
    if !tag[1..end + 1].chars().all(|letter| letter.is_alphanumeric() || letter == '_') {
        return 1;
    }
    text[tag.len()..].find(tag).map_or(text.len(), |behind| tag.len() + behind + tag.len())
}

/// The length of a comment, which may have others in it.
fn commented(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth -= 1;
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_quotes_and_comments() {
        let text =
            "select ';' as \"a;b\"; -- no; \n/* nor; /* here; */ ; */ select 'it''s;' ;; select $t$;$t$, $1; rest";
        let Script { statements, rest } = Script::of(text);
        assert_eq!(
            statements,
            ["select ';' as \"a;b\"", "-- no; \n/* nor; /* here; */ ; */ select 'it''s;'", "select $t$;$t$, $1"]
        );
        assert_eq!(rest, "rest");
    }

    #[test]
    fn a_quote_may_be_escaped_and_a_dollar_may_be_of_a_name() {
        for one in [r"select E'a\';b', e'\\'", "select a$b$, c from d$b$", "select 'naïve;' as ä$1"] {
            let Script { statements, rest } = Script::of(&format!("{one};"));
            assert_eq!((statements, rest.as_str()), (vec![one.to_owned()], ""));
        }
    }

    #[test]
    fn what_is_not_closed_is_the_rest() {
        for text in ["select 'a;", "select \"a;", "select $$ ; ", "select /* ; "] {
            let Script { statements, rest } = Script::of(text);
            assert_eq!((statements.len(), rest.as_str()), (0, text.trim()));
        }
        for nothing in ["", "  ", "-- only; this", "/* ; */", ";;"] {
            let Script { statements, rest } = Script::of(nothing);
            assert!(statements.is_empty() && rest.is_empty(), "{nothing}");
        }
    }
}
