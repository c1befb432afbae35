//! What the query of a request for rows may have.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode};

use super::enriched_info::LOOKED_UP_BY;
use super::problem::Problem;

/// The query of a request for rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReadQuery {
    pub(super) format: Option<String>,
    pub(super) key: Option<String>,
    /// Columns by which rows of `enriched_data` are looked up, and their values.
    pub(super) values: Vec<(String, String)>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) columns: Option<Vec<String>>,
    /// Columns, and whether the greatest is first.
    pub(super) order: Vec<(String, bool)>,
    pub(super) limit: Option<u64>,
    pub(super) epoch: Option<u64>,
    pub(super) cursor: Option<Cursor>,
}

/// Where a page ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) epoch: u64,
    /// The encoded key of its last row.
    pub(super) key: Vec<u8>,
}

/// How many rows an answer in JSON has if the request does not say.
pub(super) const DEFAULT_LIMIT: u64 = 1000;
/// The most rows of a page.
pub(super) const LIMIT_MAX: u64 = 100_000;

impl ReadQuery {
    pub(super) fn parse(query: &str) -> Result<ReadQuery, Problem> {
        let mut parsed = ReadQuery::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).ok_or_else(|| Problem::bad_request(format!("{name}: it is not UTF-8")))?;
            let list = || value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
            let number = || {
                let wanted = || Problem::bad_request(format!("{name}: found {value}, wanted a whole number"));
                value.parse::<u64>().map_err(|_| wanted())
            };
            match name {
                "format" => parsed.format = Some(value),
                "key" => parsed.key = Some(value),
                "from" => parsed.from = Some(value),
                "to" => parsed.to = Some(value),
                "columns" => parsed.columns = Some(list()),
                "order" => {
                    let by = |name: String| match name.strip_prefix('-') {
                        Some(name) => (name.to_owned(), true),
                        None => (name, false),
                    };
                    parsed.order = list().into_iter().map(by).collect();
                }
                "limit" => {
                    let limit = Some(number()?).filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    let wanted = || Problem::bad_request(format!("limit: found {value}, wanted 1 to {LIMIT_MAX}"));
                    parsed.limit = Some(limit.ok_or_else(wanted)?);
                }
                "epoch" => parsed.epoch = Some(number()?),
                "cursor" => {
                    let wanted = || Problem::bad_request("cursor: wanted the one of the link to the next page");
                    parsed.cursor = Some(Cursor::parse(&value).ok_or_else(wanted)?);
                }
                column if LOOKED_UP_BY.contains(&column) => parsed.values.push((column.to_owned(), value)),
                found => {
                    let known = "format, key, from, to, columns, order, limit, epoch and cursor, and for enriched_data \
                                 order_id, customer_id, product_id and order_date";
                    return Err(Problem::bad_request(format!("unknown parameter {found}; there are {known}")));
                }
            }
        }
        Ok(parsed)
    }

    /// The query for the page behind one that ended at a key.
    pub(super) fn next(&self, epoch: u64, key: &[u8]) -> String {
        let mut pairs = Vec::new();
        let columns = self.columns.as_ref().map(|columns| columns.join(","));
        let limit = self.limit.map(|limit| limit.to_string());
        let own = [
            ("format", &self.format),
            ("key", &self.key),
            ("from", &self.from),
            ("to", &self.to),
            ("columns", &columns),
            ("limit", &limit),
        ];
        pairs.extend(own.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?)))));
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        pairs.push(format!("cursor={epoch}-{digits}"));
        pairs.join("&")
    }
}

impl Cursor {
    fn parse(text: &str) -> Option<Cursor> {
        let (epoch, digits) = text.split_once('-')?;
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        let key = (0..digits.len()).step_by(2).map(byte).collect::<Option<Vec<_>>>()?;
        Some(Cursor { epoch: epoch.parse().ok()?, key })
    }
}

/// A value of a query without its escapes.
fn decoded(value: &str) -> Option<String> {
    percent_decode_str(&value.replace('+', " ")).decode_utf8().ok().map(Cow::into_owned)
}

fn encoded(value: &str) -> PercentEncode<'_> {
    utf8_percent_encode(value, NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_asks_for_the_same() {
        let query = "format=csv&key=a%26b+c%2Fé&columns=x,y&limit=10&epoch=3";
        let first = ReadQuery::parse(query).expect("valid");
        assert_eq!(first.key.as_deref(), Some("a&b c/é"));
        let next = ReadQuery::parse(&first.next(7, &[0, 255, 16])).expect("valid");
        assert_eq!(next.cursor, Some(Cursor { epoch: 7, key: vec![0, 255, 16] }));
        assert_eq!(
            (next.key, next.columns, next.limit, next.format),
            (first.key, first.columns, first.limit, first.format)
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in ["limit=0", "limit=x", "limit=100001", "epoch=-1", "cursor=1", "cursor=1-f", "key=%ff", "colums=a"]
        {
            assert!(ReadQuery::parse(query).is_err(), "{query}");
        }
        let order = ReadQuery::parse("order=-a,b").expect("valid").order;
        assert_eq!(order, [("a".to_owned(), true), ("b".to_owned(), false)]);
    }
}
