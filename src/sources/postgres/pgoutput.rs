//! The messages of the output plugin `pgoutput`, protocol version 1, with values as text.
//!
//! Source: "Logical Replication OutputMessage Formats" in the documentation of PostgreSQL.

use std::str;

/// A message within a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OutputMessage<'a> {
    /// Describes a table, before its first row and after it has changed.
    Relation(RelationMessage),
    /// A row is new.
    Insert { relation: u32, new: Vec<SentValue<'a>> },
    /// A row has changed. The old one is there if its key has changed, or if the table keeps whole old rows.
    Update { relation: u32, old: Option<Vec<SentValue<'a>>>, new: Vec<SentValue<'a>> },
    /// A row is gone: its key, or the whole row.
    Delete { relation: u32, old: Vec<SentValue<'a>> },
    /// All rows of some tables are gone.
    Truncate { relations: Vec<u32> },
    /// Of no interest: the beginning, the end or the origin of a transaction, a type, a message of a program.
    Other,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelationMessage {
    pub(super) id: u32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<ColumnMessage>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnMessage {
    pub(super) name: String,
    /// True if it is part of what old rows have.
    pub(super) is_key: bool,
    pub(super) type_id: u32,
    pub(super) modifier: i32,
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentValue<'a> {
    Null,
    /// It is stored apart and has not changed: it is not sent.
    Unchanged,
    Text(&'a str),
}

impl<'a> SentValue<'a> {
    /// The text, if it is one.
    pub(super) fn text(self) -> Option<&'a str> {
        if let SentValue::Text(text) = self { Some(text) } else { None }
    }
}

impl OutputMessage<'_> {
    /// Decodes a message.
    ///
    /// # Errors
    ///
    /// If it is not one of these.
    pub(super) fn decode(bytes: &[u8]) -> Result<OutputMessage<'_>, String> {
        let mut input = Input { rest: bytes };
        let message = match input.byte()? {
            b'R' => OutputMessage::Relation(input.relation()?),
            b'I' => {
                let relation = input.number()?;
                input.expect(b'N')?;
                OutputMessage::Insert { relation, new: input.row()? }
            }
            b'U' => {
                let relation = input.number()?;
                let old = match input.byte()? {
                    b'K' | b'O' => {
                        let old = input.row()?;
                        input.expect(b'N')?;
                        Some(old)
                    }
                    b'N' => None,
                    other => return Err(format!("an update has a row of the kind {other}")),
                };
                OutputMessage::Update { relation, old, new: input.row()? }
            }
            b'D' => {
                let relation = input.number()?;
                match input.byte()? {
                    b'K' | b'O' => OutputMessage::Delete { relation, old: input.row()? },
                    other => return Err(format!("a delete has a row of the kind {other}")),
                }
            }
            b'T' => {
                let (count, _options) = (input.number()?, input.byte()?);
                OutputMessage::Truncate { relations: (0..count).map(|_| input.number()).collect::<Result<_, _>>()? }
            }
            b'B' | b'C' | b'O' | b'Y' | b'M' => return Ok(OutputMessage::Other),
            other => return Err(format!("a message of the unknown kind {other}")),
        };
        match input.rest {
            [] => Ok(message),
            rest => Err(format!("a message has {} bytes too many", rest.len())),
        }
    }
}

/// What is left of a message.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("a message is cut off")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "a message is cut off".to_owned())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn number(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_be_bytes)
    }

    fn count(&mut self) -> Result<usize, String> {
        self.array().map(|bytes| u16::from_be_bytes(bytes).into())
    }

    fn expect(&mut self, wanted: u8) -> Result<(), String> {
        match self.byte()? {
            found if found == wanted => Ok(()),
            found => Err(format!("a message has {found} where {wanted} must be")),
        }
    }

    /// A text that ends with a zero.
    fn name(&mut self) -> Result<String, String> {
        let length = self.rest.iter().position(|byte| *byte == 0).ok_or("a message is cut off")?;
        let name = text(self.take(length)?)?.to_owned();
        self.expect(0)?;
        Ok(name)
    }

    fn relation(&mut self) -> Result<RelationMessage, String> {
        let (id, schema, name, _identity) = (self.number()?, self.name()?, self.name()?, self.byte()?);
        let columns = (0..self.count()?).map(|_| {
            let (flags, name) = (self.byte()?, self.name()?);
            let (type_id, modifier) = (self.number()?, i32::from_be_bytes(self.array()?));
            Ok(ColumnMessage { name, is_key: flags & 1 == 1, type_id, modifier })
        });
        let columns = columns.collect::<Result<_, String>>()?;
        Ok(RelationMessage { id, schema, name, columns })
    }

    fn row(&mut self) -> Result<Vec<SentValue<'a>>, String> {
        let value = |input: &mut Input<'a>| match input.byte()? {
            b'n' => Ok(SentValue::Null),
            b'u' => Ok(SentValue::Unchanged),
            b't' => {
                let length = usize::try_from(input.number()?).map_err(|error| error.to_string())?;
                Ok(SentValue::Text(text(input.take(length)?)?))
            }
            other => Err(format!("a value of the unknown kind {other}")),
        };
        (0..self.count()?).map(|_| value(self)).collect()
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    str::from_utf8(bytes).map_err(|_| "a text is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A row of one number and one null, an update that keeps a value, and the table that they are of.
    const MESSAGES: [&[u8]; 5] = [
        b"R\0\0\x40\0public\0orders\0d\0\x02\x01order_id\0\0\0\0\x14\xff\xff\xff\xff\0note\0\0\0\0\x19\xff\xff\xff\xff",
        b"I\0\0\x40\0N\0\x02t\0\0\0\x0217n",
        b"U\0\0\x40\0K\0\x02t\0\0\0\x0217nN\0\x02t\0\0\0\x0218u",
        b"D\0\0\x40\0K\0\x02t\0\0\0\x0218n",
        b"T\0\0\0\x01\0\0\0\x40\0",
    ];

    #[test]
    fn messages_are_decoded() {
        let decoded: Vec<_> = MESSAGES.map(|bytes| OutputMessage::decode(bytes).expect("a message")).into();
        let column = |name: &str, is_key, type_id| ColumnMessage { name: name.into(), is_key, type_id, modifier: -1 };
        let columns = vec![column("order_id", true, 20), column("note", false, 25)];
        let (id, schema, name) = (0x4000, "public".to_owned(), "orders".to_owned());
        let row = |id| vec![SentValue::Text(id), SentValue::Null];
        let wanted = [
            OutputMessage::Relation(RelationMessage { id, schema, name, columns }),
            OutputMessage::Insert { relation: id, new: row("17") },
            OutputMessage::Update {
                relation: id,
                old: Some(row("17")),
                new: vec![SentValue::Text("18"), SentValue::Unchanged],
            },
            OutputMessage::Delete { relation: id, old: row("18") },
            OutputMessage::Truncate { relations: vec![id] },
        ];
        assert_eq!(decoded, wanted);
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for message in MESSAGES {
            for length in 0..message.len() {
                assert!(OutputMessage::decode(&message[..length]).is_err(), "{length} bytes of {message:?}");
            }
            assert!(OutputMessage::decode(&[message, b"x"].concat()).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0..MESSAGES.len(), at in 0_usize..80, byte: u8, other: Vec<u8>) {
            let mut changed = MESSAGES[kind].to_vec();
            let at = at % changed.len();
            changed[at] = byte;
            let _ = OutputMessage::decode(&changed);
            let _ = OutputMessage::decode(&other);
        }
    }
}
