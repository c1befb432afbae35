//! The files of a table, each of which has a range of keys: only those whose rows change are written again.

use std::collections::{BTreeMap, HashSet};

use arrow::record_batch::RecordBatch;

use crate::error::Result;

use super::key_order::{KeyOrder, KeyedRows};

/// A file of more than twice as many rows is written as several.
pub(super) const ROWS_OF_FILE: usize = 32_768;

/// A file of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeFile {
    /// Its name in the folder of the table.
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

/// Files by the least key of their rows. A key belongs to the last file whose least key is not above it, or to the
/// first file.
#[derive(Default)]
pub(super) struct KeyRanges(pub(super) BTreeMap<Vec<u8>, RangeFile>);

/// How files change.
#[derive(Default)]
pub(super) struct FileRewrite {
    /// The least keys of files that are not of the table any more.
    pub(super) removed: Vec<Vec<u8>>,
    /// The rows of new files.
    pub(super) new: Vec<RecordBatch>,
}

/// What comes of changed rows.
pub(super) enum Changed {
    Files(FileRewrite),
    /// The rows that are deleted are not those of the files.
    OtherRows,
}

impl KeyRanges {
    /// The files after some rows were deleted and inserted.
    pub(super) fn change(
        &self,
        order: &KeyOrder,
        minus: RecordBatch,
        plus: RecordBatch,
        mut read: impl FnMut(&RangeFile) -> Result<RecordBatch>,
    ) -> Result<Changed> {
        let (minus, plus) = (order.ordered(minus)?, order.ordered(plus)?);
        if self.0.is_empty() {
            let rewrite = FileRewrite { removed: Vec::new(), new: files_of(&plus.rows) };
            return Ok(if minus.len() == 0 { Changed::Files(rewrite) } else { Changed::OtherRows });
        }
        let (mut rewrite, mut deleted, mut inserted) = (FileRewrite::default(), 0, 0);
        for (least, file, end) in self.ranges() {
            let (minus_end, plus_end) = (end_of(&minus, deleted, end), end_of(&plus, inserted, end));
            if (deleted, inserted) == (minus_end, plus_end) {
                continue;
            }
            let of_minus = (deleted..minus_end).map(|row| minus.key(row));
            let gone: HashSet<_> = of_minus.chain((inserted..plus_end).map(|row| plus.key(row))).collect();
            let (kept, dropped) = order.without(&read(file)?, &gone)?;
            if dropped != minus_end - deleted {
                return Ok(Changed::OtherRows);
            }
            let rows = order.merged(&kept, &plus.rows.slice(inserted, plus_end - inserted))?;
            rewrite.removed.push(least.clone());
            rewrite.new.extend(files_of(&rows.rows));
            (deleted, inserted) = (minus_end, plus_end);
        }
        Ok(Changed::Files(rewrite))
    }

    /// The files that have these rows and no others. Files that have the rows of their range stay.
    pub(super) fn replace(
        &self,
        order: &KeyOrder,
        rows: RecordBatch,
        mut read: impl FnMut(&RangeFile) -> Result<RecordBatch>,
    ) -> Result<FileRewrite> {
        let rows = order.ordered(rows)?;
        if self.0.is_empty() {
            return Ok(FileRewrite { removed: Vec::new(), new: files_of(&rows.rows) });
        }
        let (mut rewrite, mut from) = (FileRewrite::default(), 0);
        for (least, file, end) in self.ranges() {
            let to = end_of(&rows, from, end);
            let of_range = rows.rows.slice(from, to - from);
            if file.rows != of_range.num_rows() as u64 || read(file)? != of_range {
                rewrite.removed.push(least.clone());
                rewrite.new.extend(files_of(&of_range));
            }
            from = to;
        }
        Ok(rewrite)
    }

    /// The files with their least keys, and the one of the next file.
    fn ranges(&self) -> impl Iterator<Item = (&Vec<u8>, &RangeFile, Option<&Vec<u8>>)> {
        let ends = self.0.keys().skip(1).map(Some).chain([None]);
        self.0.iter().zip(ends).map(|((least, file), end)| (least, file, end))
    }
}

/// Where the rows end that belong to a range which ends at a key.
fn end_of(rows: &KeyedRows, from: usize, end: Option<&Vec<u8>>) -> usize {
    end.map_or(rows.len(), |end| rows.first_from(from, end))
}

/// Rows as those of files.
fn files_of(rows: &RecordBatch) -> Vec<RecordBatch> {
    let count = match rows.num_rows() {
        0 => return Vec::new(),
        rows if rows <= 2 * ROWS_OF_FILE => 1,
        rows => rows.div_ceil(ROWS_OF_FILE),
    };
    let start = |file: usize| file * rows.num_rows() / count;
    (0..count).map(|file| rows.slice(start(file), start(file + 1) - start(file))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::sinks::sink::TableInfo;

    fn table() -> TableInfo {
        let field = |name| Field::new(name, DataType::Int64, false);
        let schema = Arc::new(Schema::new(vec![field("id"), field("value")]));
        TableInfo { name: "t".into(), key: vec!["id".into()], schema, order: Vec::new() }
    }

    fn rows(rows: &[(i64, i64)]) -> RecordBatch {
        let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let columns =
            vec![column(rows.iter().map(|row| row.0).collect()), column(rows.iter().map(|row| row.1).collect())];
        RecordBatch::try_new(table().schema, columns).expect("columns of the table")
    }

    /// A table whose files are in memory.
    struct Kept {
        order: KeyOrder,
        ranges: KeyRanges,
        contents: BTreeMap<String, RecordBatch>,
        made: usize,
    }

    impl Kept {
        fn empty() -> Kept {
            let order = KeyOrder::of(&table()).expect("a key");
            Kept { order, ranges: KeyRanges::default(), contents: BTreeMap::new(), made: 0 }
        }

        fn apply(&mut self, rewrite: FileRewrite) -> (usize, usize) {
            let changed = (rewrite.removed.len(), rewrite.new.len());
            for least in rewrite.removed {
                self.ranges.0.remove(&least).expect("a file of the table");
            }
            for rows in rewrite.new {
                self.made += 1;
                let name = self.made.to_string();
                let file = RangeFile { name: name.clone(), bytes: 0, rows: rows.num_rows() as u64 };
                let keys = self.order.keys(&rows).expect("keys");
                self.ranges.0.insert(keys.row(0).data().to_vec(), file);
                self.contents.insert(name, rows);
            }
            changed
        }

        fn change(&mut self, minus: &[(i64, i64)], plus: &[(i64, i64)]) -> Option<(usize, usize)> {
            let read = |file: &RangeFile| Ok(self.contents[&file.name].clone());
            match self.ranges.change(&self.order, rows(minus), rows(plus), read).expect("changed") {
                Changed::Files(rewrite) => Some(self.apply(rewrite)),
                Changed::OtherRows => None,
            }
        }

        fn replace(&mut self, all: &[(i64, i64)]) -> (usize, usize) {
            let read = |file: &RangeFile| Ok(self.contents[&file.name].clone());
            let rewrite = self.ranges.replace(&self.order, rows(all), read).expect("replaced");
            self.apply(rewrite)
        }

        /// All rows, in the order of the files.
        fn rows(&self) -> Vec<(i64, i64)> {
            let value = |rows: &RecordBatch, column: usize, row: usize| {
                rows.column(column).as_any().downcast_ref::<Int64Array>().expect("numbers").value(row)
            };
            let of_file = |file: &RangeFile| {
                let rows = &self.contents[&file.name];
                (0..rows.num_rows()).map(|row| (value(rows, 0, row), value(rows, 1, row))).collect::<Vec<_>>()
            };
            self.ranges.0.values().flat_map(of_file).collect()
        }
    }

    #[test]
    fn only_files_with_changed_keys_are_written_again() {
        let mut kept = Kept::empty();
        let many = 5 * ROWS_OF_FILE as i64;
        let all: Vec<_> = (0..many).map(|id| (2 * id, id)).collect();
        assert_eq!(kept.replace(&all), (0, 5));
        assert_eq!(kept.rows(), all);
        // One row changed, one gone, one new before all others, one new behind them.
        assert_eq!(kept.change(&[(0, 0)], &[(0, 7)]), Some((1, 1)));
        assert_eq!(kept.change(&[(2, 1)], &[(-1, 9)]), Some((1, 1)));
        assert_eq!(kept.change(&[], &[(2 * many, 5)]), Some((1, 1)));
        assert_eq!(kept.change(&[(2 * many, 5), (0, 7)], &[(2, 1)]), Some((2, 2)));
        let mut wanted: Vec<_> = all[1..].to_vec();
        wanted.insert(0, (-1, 9));
        assert_eq!(kept.rows(), wanted);
        // What was not there can't be deleted, and what is there can't be inserted.
        assert_eq!(kept.change(&[(1, 0)], &[]), None);
        assert_eq!(kept.change(&[], &[(4, 0)]), None);
        // The same rows change no file; one other row, one.
        assert_eq!(kept.replace(&wanted), (0, 0));
        wanted[7].1 += 1;
        assert_eq!(kept.replace(&wanted), (1, 1));
        // A file that has grown is written as several, and one that has no rows is gone.
        let grown: Vec<_> = (0..3 * ROWS_OF_FILE as i64).map(|id| (2 * many + 3 + id, id)).collect();
        assert_eq!(kept.change(&[], &grown), Some((1, 4)));
        assert_eq!(kept.replace(&[]), (8, 0));
        assert!(kept.rows().is_empty());
        assert_eq!(kept.change(&[(1, 1)], &[]), None);
        assert_eq!(kept.change(&[], &[(3, 1), (1, 2)]), Some((0, 1)));
        assert_eq!(kept.rows(), [(1, 2), (3, 1)]);
    }

    /// Random changes lead to the same as the definition: a map.
    #[test]
    fn files_have_the_rows_of_a_map() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut kept, mut map) = (Kept::empty(), BTreeMap::new());
        for _ in 0..60 {
            let (mut minus, mut plus) = (Vec::new(), Vec::new());
            let ids: std::collections::BTreeSet<_> = (0..rng.usize(1..2000)).map(|_| rng.i64(0..200_000)).collect();
            for id in ids {
                minus.extend(map.remove(&id).map(|value| (id, value)));
                if rng.u8(0..3) > 0 {
                    map.insert(id, rng.i64(0..9));
                    plus.push((id, map[&id]));
                }
            }
            rng.shuffle(&mut plus);
            if rng.u8(0..8) == 0 {
                kept.replace(&map.clone().into_iter().collect::<Vec<_>>());
            } else {
                assert!(kept.change(&minus, &plus).is_some());
            }
            assert_eq!(kept.rows(), map.clone().into_iter().collect::<Vec<_>>());
        }
    }
}
