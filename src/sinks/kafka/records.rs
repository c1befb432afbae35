//! Changes of rows as records.

use std::collections::{HashMap, HashSet};

use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::sinks::changes::TableChanges;

use super::change::{ChangeOrigin, RecordChange};
use super::topics::TargetTopic;

/// A record; without a value, a tombstone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TopicRecord {
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

impl TargetTopic {
    /// The records that make a topic have a table after an epoch that had it before.
    pub(super) fn changes(&self, changes: &TableChanges, origin: ChangeOrigin) -> Result<Vec<TopicRecord>> {
        let (new_keys, new) = (self.keys(&changes.plus)?, self.form.rows(&changes.plus)?);
        let (old_keys, old) = (self.keys(&changes.minus)?, self.form.rows(&changes.minus)?);
        let mut before: HashMap<&[u8], &[u8]> =
            old_keys.iter().map(Vec::as_slice).zip(old.iter().map(Vec::as_slice)).collect();
        let mut records = Vec::with_capacity(new.len() + old.len());
        for (key, row) in new_keys.iter().zip(&new) {
            let before = before.remove(key.as_slice());
            let op = if before.is_some() { "u" } else { "c" };
            let value = self.form.value(RecordChange { op, before, after: Some(row) }, origin)?;
            records.push(TopicRecord { key: key.clone(), value: Some(value) });
        }
        for (key, row) in old_keys.iter().zip(&old).filter(|(key, _)| before.contains_key(key.as_slice())) {
            self.push_deleted(&mut records, key, Some(row), origin)?;
        }
        Ok(records)
    }

    /// The records that make a topic have these rows, which has others: for each key, a digest of its row.
    pub(super) fn difference(
        &self,
        rows: &RecordBatch,
        has: &HashMap<Vec<u8>, u128>,
        digest: impl Fn(&[u8]) -> u128,
        origin: ChangeOrigin,
    ) -> Result<Vec<TopicRecord>> {
        let (keys, rows) = (self.keys(rows)?, self.form.rows(rows)?);
        let wanted: HashSet<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut records = Vec::new();
        for key in has.keys().filter(|key| !wanted.contains(key.as_slice())) {
            self.push_deleted(&mut records, key, None, origin)?;
        }
        for (key, row) in keys.iter().zip(&rows).filter(|(key, row)| has.get(*key) != Some(&digest(row))) {
            let value = self.form.value(RecordChange { op: "r", before: None, after: Some(row) }, origin)?;
            records.push(TopicRecord { key: key.clone(), value: Some(value) });
        }
        Ok(records)
    }

    fn push_deleted(
        &self,
        records: &mut Vec<TopicRecord>,
        key: &[u8],
        before: Option<&[u8]>,
        origin: ChangeOrigin,
    ) -> Result<()> {
        if self.form.is_debezium() {
            let value = self.form.value(RecordChange { op: "d", before, after: None }, origin)?;
            records.push(TopicRecord { key: key.to_owned(), value: Some(value) });
        }
        records.push(TopicRecord { key: key.to_owned(), value: None });
        Ok(())
    }

    fn keys(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        self.form.keys(&rows.project(&self.key).map_err(Error::failed)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use crate::kafka::RecordFormat;
    use crate::sinks::committed::Committed;
    use crate::sinks::sink::TableInfo;

    use super::*;

    fn rows(of: &[(i64, Option<&str>)]) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(of.iter().map(|(id, _)| *id)));
        let names: ArrayRef = Arc::new(StringArray::from_iter(of.iter().map(|(_, name)| *name)));
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).expect("a batch")
    }

    fn topic(format: RecordFormat) -> (TargetTopic, TableInfo) {
        let (name, key) = ("people".to_owned(), vec!["id".to_owned()]);
        let table = TableInfo { name, key, schema: rows(&[]).schema(), order: Vec::new() };
        (TargetTopic::new("ms.", format, &table).expect("a topic"), table)
    }

    fn text(records: &[TopicRecord]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        records.iter().map(|one| (text(&one.key), one.value.as_deref().map_or("-".into(), text))).collect()
    }

    const ORIGIN: ChangeOrigin =
        ChangeOrigin { sink: "feed", table: "people", epoch: Committed { epoch: 7, time_ms: 5 } };

    #[test]
    fn a_change_is_a_record_and_a_delete_a_tombstone() {
        let (of_json, table) = topic(RecordFormat::Json);
        let (plus, minus) = (rows(&[(1, Some("a\nb")), (2, None)]), rows(&[(1, Some("a")), (3, Some("c"))]));
        let changes = TableChanges { table, plus, minus };
        let records = of_json.changes(&changes, ORIGIN).expect("records");
        let wanted = [
            ("{\"id\":1}", "{\"id\":1,\"name\":\"a\\nb\"}"),
            ("{\"id\":2}", "{\"id\":2,\"name\":null}"),
            ("{\"id\":3}", "-"),
        ];
        assert_eq!(text(&records), wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));

        let (of_debezium, _) = topic(RecordFormat::Debezium);
        let records = text(&of_debezium.changes(&changes, ORIGIN).expect("records"));
        assert_eq!(records.len(), 4);
        for ((_, value), (op, before, after)) in records.iter().zip([
            ("u", "{\"id\":1,\"name\":\"a\"}", "{\"id\":1,\"name\":\"a\\nb\"}"),
            ("c", "null", "{\"id\":2,\"name\":null}"),
            ("d", "{\"id\":3,\"name\":\"c\"}", "null"),
        ]) {
            let value: serde_json::Value = serde_json::from_str(value).expect("JSON");
            let side = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            assert_eq!((&value["op"], &value["before"], &value["after"]), (&op.into(), &side(before), &side(after)));
            assert_eq!((&value["source"]["epoch"], &value["ts_ms"]), (&7.into(), &5.into()));
        }
        assert_eq!(records[3], ("{\"id\":3}".into(), "-".into()));
    }

    #[test]
    fn only_rows_that_differ_are_written_again() {
        for format in [RecordFormat::Json, RecordFormat::Debezium] {
            let (topic, table) = topic(format);
            let digest = |row: &[u8]| u128::from(crc32fast::hash(row));
            let none = rows(&[]);
            let first = rows(&[(1, Some("a")), (2, Some("b")), (3, None)]);
            let made = topic.changes(&TableChanges { table, plus: first, minus: none }, ORIGIN).expect("records");
            let row =
                |one: &TopicRecord| digest(&topic.form.row_of(one.value.as_ref().expect("a row")).expect("a row"));
            let has: HashMap<_, _> = made.iter().map(|one| (one.key.clone(), row(one))).collect();
            let now = rows(&[(1, Some("a")), (2, Some("B")), (4, None)]);
            let records = topic.difference(&now, &has, digest, ORIGIN).expect("records");
            let keys: Vec<_> = text(&records).into_iter().map(|(key, value)| (key, value != "-")).collect();
            let mut wanted = vec![("{\"id\":3}", false), ("{\"id\":2}", true), ("{\"id\":4}", true)];
            if format == RecordFormat::Debezium {
                wanted.insert(0, ("{\"id\":3}", true));
            }
            assert_eq!(keys, wanted.iter().map(|(key, is)| ((*key).to_owned(), *is)).collect::<Vec<_>>());
        }
    }
}
