//! The elements of a JSON array as lines.
//!
//! A state machine over bytes: it takes a body in pieces of any size, and keeps nothing of it but where it is.

use std::io::{self, Error, ErrorKind, Write};

/// Writes each element of a JSON array as a line. A body that is not an array is a sequence of objects, such as one
/// object, or one in each line.
///
/// What the elements are is for the reader of the lines to check; only what separates them is checked here.
pub(super) struct JsonElements<W> {
    lines: W,
    place: JsonPlace,
    /// How deep within an element.
    depth: u64,
    in_text: bool,
    is_escaped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonPlace {
    /// Before the array or the first object.
    Start,
    /// In the array, before its first element or its end.
    First,
    /// In the array, before an element.
    Element,
    /// In the array, behind an element.
    Behind,
    /// Behind the array.
    End,
    /// Between objects that are not in an array.
    Between,
    /// In an element that ends where its depth is none.
    Nested { in_array: bool },
    /// In an element of the array that is neither an object nor an array nor a text.
    Plain,
}

impl<W: Write> JsonElements<W> {
    pub(super) fn new(lines: W) -> JsonElements<W> {
        JsonElements { lines, place: JsonPlace::Start, depth: 0, in_text: false, is_escaped: false }
    }

    /// Where the lines were written.
    ///
    /// # Errors
    ///
    /// If the body ended within an element or the array.
    pub(super) fn finish(self) -> io::Result<W> {
        match self.place {
            JsonPlace::Start | JsonPlace::Between | JsonPlace::End => Ok(self.lines),
            place => Err(invalid(format!("the body ends {}", place.text()))),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut from = 0;
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            match self.place {
                JsonPlace::Nested { in_array } => {
                    let is_break = matches!(byte, b'\n' | b'\r');
                    if self.in_text {
                        match byte {
                            _ if is_break => return Err(invalid("found a line break in a text".into())),
                            _ if self.is_escaped => self.is_escaped = false,
                            b'\\' => self.is_escaped = true,
                            b'"' => self.in_text = false,
                            _ => {}
                        }
                    } else {
                        match byte {
                            b'"' => self.in_text = true,
                            b'{' | b'[' => self.depth += 1,
                            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                            _ if is_break => {
                                self.lines.write_all(&bytes[from..at])?;
                                self.lines.write_all(b" ")?;
                                from = at + 1;
                            }
                            _ => {}
                        }
                    }
                    if self.depth == 0 && !self.in_text {
                        self.lines.write_all(&bytes[from..=at])?;
                        self.lines.write_all(b"\n")?;
                        self.place = if in_array { JsonPlace::Behind } else { JsonPlace::Between };
                    }
                }
                JsonPlace::Plain if byte.is_ascii_whitespace() || matches!(byte, b',' | b']') => {
                    self.lines.write_all(&bytes[from..at])?;
                    self.lines.write_all(b"\n")?;
                    self.place = JsonPlace::Behind;
                    continue;
                }
                JsonPlace::Plain => {}
                _ if byte.is_ascii_whitespace() => {}
                place => {
                    self.place = self.after(place, byte)?;
                    if matches!(self.place, JsonPlace::Nested { .. } | JsonPlace::Plain) {
                        from = at;
                        continue;
                    }
                }
            }
            at += 1;
        }
        match self.place {
            JsonPlace::Nested { .. } | JsonPlace::Plain => self.lines.write_all(&bytes[from..]),
            _ => Ok(()),
        }
    }

    /// Where a byte that is not a space leads from between elements.
    fn after(&self, place: JsonPlace, byte: u8) -> io::Result<JsonPlace> {
        let is_nested = matches!(byte, b'{' | b'[' | b'"');
        let element = if is_nested { JsonPlace::Nested { in_array: true } } else { JsonPlace::Plain };
        match (place, byte) {
            (JsonPlace::Start, b'[') => Ok(JsonPlace::First),
            (JsonPlace::Start | JsonPlace::Between, b'{') => Ok(JsonPlace::Nested { in_array: false }),
            (JsonPlace::First | JsonPlace::Behind, b']') => Ok(JsonPlace::End),
            (JsonPlace::Behind, b',') => Ok(JsonPlace::Element),
            (JsonPlace::First | JsonPlace::Element, byte) if !matches!(byte, b',' | b']' | b'}' | b':') => Ok(element),
            _ => Err(invalid(format!("found `{}` {}", byte.escape_ascii(), place.text()))),
        }
    }
}

impl<W: Write> Write for JsonElements<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

impl JsonPlace {
    fn text(self) -> &'static str {
        match self {
            JsonPlace::Start => "where an array or an object was wanted",
            JsonPlace::First | JsonPlace::Element => "where an element of the array was wanted",
            JsonPlace::Behind => "behind an element of the array, where `,` or `]` was wanted",
            JsonPlace::End => "behind the array",
            JsonPlace::Between => "behind an object, where another was wanted",
            JsonPlace::Nested { .. } | JsonPlace::Plain => "within an element",
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The lines of a body that comes in pieces of some bytes.
    fn lines(body: &[u8], piece: usize) -> io::Result<String> {
        let mut elements = JsonElements::new(Vec::new());
        body.chunks(piece).try_for_each(|piece| elements.write_all(piece))?;
        Ok(String::from_utf8(elements.finish()?).expect("text"))
    }

    #[test]
    fn each_element_is_a_line() {
        for piece in [1, 2, 3, 7, 1000] {
            let of = |body: &str| lines(body.as_bytes(), piece).expect(body);
            assert_eq!(of("[]"), "");
            assert_eq!(of(" [ {\"a\": 1} , 2,\n[3, {}],\"x]\" ,null ] "), "{\"a\": 1}\n2\n[3, {}]\n\"x]\"\nnull\n");
            assert_eq!(of("[{\"a\":\n \"}\\\"]\\\\\"}]"), "{\"a\":  \"}\\\"]\\\\\"}\n");
            assert_eq!(of("{\"a\": 1}\n{\"b\": [\n2]}"), "{\"a\": 1}\n{\"b\": [ 2]}\n");
            assert_eq!(of(""), "");
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for (body, message) in [
            ("[1", "the body ends within an element"),
            ("[{\"a\": 1}", "the body ends behind an element of the array"),
            ("[1,]", "found `]` where an element of the array was wanted"),
            ("[1 2]", "found `2` behind an element"),
            ("[] {}", "found `{` behind the array"),
            ("{} 1", "found `1` behind an object"),
            ("x", "found `x` where an array or an object was wanted"),
            ("{\"a", "the body ends within an element"),
            ("{\"a\n\"}", "found a line break in a text"),
        ] {
            let error = lines(body.as_bytes(), 2).expect_err(body).to_string();
            assert!(error.starts_with(message), "{body}: {error}");
        }
    }

    /// Whatever a body is and however it is cut: if it is an array, each element comes out; if not, it is refused or
    /// its lines are no objects.
    #[test]
    fn bodies_at_random() {
        let mut random = fastrand::Rng::with_seed(5);
        let words = ["{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\n", "1", "-2.5e3", "null", "\"a\"", "é", "{}"];
        for _ in 0..20_000 {
            let body: String = (0..random.usize(0..12)).map(|_| words[random.usize(0..words.len())]).collect();
            let piece = random.usize(1..9);
            let found = lines(body.as_bytes(), piece);
            assert_eq!(found.as_ref().ok(), lines(body.as_bytes(), 1000).as_ref().ok(), "{body}");
            if let Ok(Value::Array(elements)) = serde_json::from_str(&body) {
                let found = found.unwrap_or_else(|error| panic!("{body}: {error}"));
                let found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
                assert_eq!(found, elements, "{body}");
            }
        }
    }
}
