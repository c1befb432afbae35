//! Formats of dates and times: those of PostgreSQL's `to_char` as those of chrono, which DataFusion's takes.

/// What stands for parts of a date or time there and here, the longest before those that they begin with.
const PARTS: [(&str, &str); 27] = [
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("IYYY", "%G"),
    ("YYYY", "%Y"),
    ("Month", "%B"),
    ("FMMonth", "%B"),
    ("FMDay", "%A"),
    ("FMDD", "%-d"),
    ("FMMM", "%-m"),
    ("FMHH24", "%-H"),
    ("DDD", "%j"),
    ("Mon", "%b"),
    ("HH", "%I"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("MI", "%M"),
    ("SS", "%S"),
    ("MS", "%3f"),
    ("US", "%6f"),
    ("TZ", "UTC"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("Day", "%A"),
    ("Dy", "%a"),
    ("IW", "%V"),
    ("ID", "%u"),
];

/// A format of chrono that means the same; `None` if there is something that we do not know.
///
/// As in PostgreSQL, what is in double quotes stands for itself. Names of months and days are not padded with blanks,
/// as if `FM` stood before them.
pub(crate) fn chrono_format(format: &str) -> Option<String> {
    let (mut rest, mut made) = (format, String::new());
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (quoted, behind) = rest[1..].split_once('"')?;
            made.push_str(&quoted.replace('%', "%%"));
            rest = behind;
            continue;
        }
        let part = PARTS.iter().filter(|(part, _)| rest.starts_with(part)).max_by_key(|(part, _)| part.len());
        let lower = rest.get(..2).is_some_and(|two| matches!(two, "yy" | "mm" | "dd" | "hh" | "mi" | "ss"));
        match part {
            Some((part, chrono)) => {
                made.push_str(chrono);
                rest = &rest[part.len()..];
            }
            // The case matters for names only.
            None if lower => {
                let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '2' && letter != '4');
                let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
                made.push_str(&chrono_format(&part.to_uppercase())?);
                rest = behind;
            }
            None if first.is_ascii_alphanumeric() => return None,
            None => {
                made.push(first);
                if first == '%' {
                    made.push('%');
                }
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_mean_the_same() {
        for (format, wanted) in [
            ("YYYY-MM-DD", Some("%Y-%m-%d")),
            ("yyyy-mm", Some("%Y-%m")),
            ("hh24:mi", Some("%H:%M")),
            ("HH24:MI:SS.US", Some("%H:%M:%S.%6f")),
            ("Mon DD, YYYY", Some("%b %d, %Y")),
            ("IYYY-\"W\"IW", Some("%G-W%V")),
            ("DDD", Some("%j")),
            ("100%", None),
            ("999.99", None),
            ("YYYY-Q", None),
            ("%", Some("%%")),
        ] {
            assert_eq!(chrono_format(format).as_deref(), wanted, "{format}");
        }
    }
}
