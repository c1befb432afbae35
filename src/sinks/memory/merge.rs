//! Merging runs: the rows of several, key by key, with their weights added up.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::compute::interleave_record_batch;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use crate::error::{Error, Result};

use super::keys::KeyRange;
use super::run::{KeyEncoder, Run};

/// A cursor over the rows of some runs, in the order of their keys.
pub(super) struct Merge {
    runs: Vec<Arc<Run>>,
    /// What is left of each.
    rest: Vec<Range<usize>>,
    /// How the next key of each begins; `None` if nothing is left.
    heads: Vec<Option<KeyStart>>,
}

/// The first bytes of a key, which mostly tell which of two keys comes first: comparing them takes no look at the run.
type KeyStart = [u8; 16];

/// What comes next of a merge.
pub(super) enum Piece {
    /// Rows of a run that no other run has a key of, each of weight 1.
    Alone { run: usize, rows: Range<usize> },
    /// All rows of one key: run, row, weight.
    Together(Vec<(usize, usize, i64)>),
}

impl Merge {
    /// A merge of the rows whose keys are in a range; `to` is not in it.
    pub(super) fn of(runs: Vec<Arc<Run>>, from: &[u8], to: Option<&[u8]>) -> Merge {
        let part = |run: &Arc<Run>| {
            let all = 0..run.len();
            let end = to.map_or(run.len(), |to| run.first_from(&all, to));
            run.first_from(&all, from).min(end)..end
        };
        let rest: Vec<_> = runs.iter().map(part).collect();
        let heads = runs.iter().zip(&rest).map(|(run, rest)| head(run, rest)).collect();
        Merge { runs, rest, heads }
    }

    pub(super) fn run(&self, run: usize) -> &Run {
        &self.runs[run]
    }

    /// The next key of a run.
    fn key(&self, run: usize) -> &[u8] {
        self.runs[run].key(self.rest[run].start)
    }

    /// The run with the least key, and that with the next one, which may be the same key.
    fn two_least(&self) -> (Option<usize>, Option<usize>) {
        let is_less = |one: usize, other: usize| match self.heads[one].cmp(&self.heads[other]) {
            Ordering::Equal => self.key(one) < self.key(other),
            order => order.is_lt(),
        };
        let (mut least, mut next): (Option<usize>, Option<usize>) = (None, None);
        for run in (0..self.runs.len()).filter(|run| self.heads[*run].is_some()) {
            if least.is_none_or(|least| is_less(run, least)) {
                (least, next) = (Some(run), least);
            } else if next.is_none_or(|next| is_less(run, next)) {
                next = Some(run);
            }
        }
        (least, next)
    }

    /// The next piece, of at most so many rows unless they have one key.
    pub(super) fn next_piece(&mut self, most: usize) -> Option<Piece> {
        let (least, next) = self.two_least();
        let (runs, rest) = (&self.runs, &self.rest);
        let next_key = |run: usize| runs[run].key(rest[run].start);
        let (run, others) = (least?, next.map(next_key));
        let key = next_key(run);
        if others != Some(key) && self.runs[run].is_plain() {
            let rest = &self.rest[run];
            let part = rest.start..rest.end.min(rest.start.saturating_add(most));
            let end = others.map_or(part.end, |other| self.runs[run].first_from(&part, other));
            let rows = rest.start..end;
            self.rest[run].start = end;
            self.heads[run] = head(&self.runs[run], &self.rest[run]);
            return Some(Piece::Alone { run, rows });
        }
        let (start, mut together) = (self.heads[run], Vec::new());
        for index in 0..self.runs.len() {
            if self.heads[index] != start {
                continue;
            }
            let (run, rest) = (&self.runs[index], &mut self.rest[index]);
            while rest.start < rest.end && run.key(rest.start) == key {
                together.push((index, rest.start, run.weight(rest.start)));
                rest.start += 1;
            }
            self.heads[index] = head(run, rest);
        }
        Some(Piece::Together(together))
    }
}

fn head(run: &Run, rest: &Range<usize>) -> Option<KeyStart> {
    (rest.start < rest.end).then(|| {
        let (key, mut start) = (run.key(rest.start), KeyStart::default());
        let known = key.len().min(start.len());
        start[..known].copy_from_slice(&key[..known]);
        start
    })
}

/// Rows that are taken from several runs.
pub(super) struct Picked {
    /// True if these runs are all of a table, so that nothing is deleted but what they have.
    is_whole: bool,
    rows: Vec<(usize, usize, i64)>,
    /// The ranges of rows that have one key.
    groups: Vec<Range<usize>>,
}

impl Picked {
    /// Of all runs of a table, of which it is assumed that they delete no row that there was not; or of any, whose rows
    /// are all added up. Merging the oldest runs checks what is assumed here.
    pub(super) fn new(is_whole: bool) -> Picked {
        Picked { is_whole, rows: Vec::new(), groups: Vec::new() }
    }

    pub(super) fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Alone { run, rows } => self.rows.extend(rows.map(|row| (run, row, 1))),
            Piece::Together(rows) => {
                let left: i64 = rows.iter().map(|(_, _, weight)| weight).sum();
                match self.is_whole.then_some(left) {
                    Some(0) => return,
                    Some(1) => {
                        if let Some(row) = inserted_last(&rows) {
                            return self.rows.push(row);
                        }
                    }
                    _ => {}
                }
                let first = self.rows.len();
                self.rows.extend(rows);
                if self.rows.len() > first + 1 {
                    self.groups.push(first..self.rows.len());
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds up the weights of equal rows; those that come to nothing are gone.
    fn consolidate(&mut self, batches: &[&RecordBatch]) -> Result<()> {
        if !self.groups.is_empty() {
            let grouped = self.groups.iter().flat_map(|group| &self.rows[group.clone()]);
            let places: Vec<_> = grouped.map(|(run, row, _)| (*run, *row)).collect();
            let rows = interleave_record_batch(batches, &places).map_err(Error::failed)?;
            let fields = rows.schema_ref().fields().iter().map(|field| SortField::new(field.data_type().clone()));
            let converter = RowConverter::new(fields.collect()).map_err(Error::failed)?;
            let encoded = converter.convert_columns(rows.columns()).map_err(Error::failed)?;
            let mut first = 0;
            for group in self.groups.drain(..) {
                let mut order: Vec<usize> = (0..group.len()).collect();
                order.sort_by_key(|row| encoded.row(first + row));
                let group = &mut self.rows[group];
                for pair in order.windows(2) {
                    if encoded.row(first + pair[0]) == encoded.row(first + pair[1]) {
                        group[pair[1]].2 += std::mem::take(&mut group[pair[0]].2);
                    }
                }
                first += group.len();
            }
        }
        self.rows.retain(|(_, _, weight)| *weight != 0);
        Ok(())
    }

    /// The rows, of which only some columns may be wanted, and the weight of each.
    pub(super) fn finish(mut self, merge: &Merge, columns: Option<&[usize]>) -> Result<(RecordBatch, Vec<i64>)> {
        let batches: Vec<&RecordBatch> = merge.runs.iter().map(|run| run.rows()).collect();
        self.consolidate(&batches)?;
        let batches = merge.runs.iter().map(|run| run.columns(columns)).collect::<Result<Vec<_>>>()?;
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        let places: Vec<_> = self.rows.iter().map(|(run, row, _)| (*run, *row)).collect();
        let rows = interleave_record_batch(&batches, &places).map_err(Error::failed)?;
        Ok((rows, self.rows.into_iter().map(|(_, _, weight)| weight).collect()))
    }
}

/// The row that the newest run with the key inserts, if it inserts one and deletes no more than one. If one row of the
/// key is left, it is this one: an epoch deletes only rows that there were before it, so nothing has deleted this one.
fn inserted_last(rows: &[(usize, usize, i64)]) -> Option<(usize, usize, i64)> {
    let newest = rows.iter().map(|(run, _, _)| *run).max()?;
    let of_newest = || rows.iter().filter(|(run, _, _)| *run == newest);
    let mut inserted = of_newest().filter(|(_, _, weight)| *weight > 0);
    let (last, other) = (inserted.next()?, inserted.next());
    (last.2 == 1 && other.is_none() && of_newest().count() <= 2).then_some(*last)
}

/// One run of the rows of several whose keys are in a range.
pub(super) fn merged_within(runs: &[Arc<Run>], range: &KeyRange, encoder: &KeyEncoder) -> Result<Run> {
    let (rows, weights) = all_of(Merge::of(runs.to_vec(), &range.from, range.to.as_deref()))?;
    Run::of_sorted(rows, weights, encoder)
}

fn all_of(mut merge: Merge) -> Result<(RecordBatch, Vec<i64>)> {
    let mut picked = Picked::new(false);
    while let Some(piece) = merge.next_piece(usize::MAX) {
        picked.add(piece);
    }
    picked.finish(&merge, None)
}

/// One run of the rows of several. Below the oldest run of a table there is nothing that rows could be deleted from.
pub(super) fn merged(runs: &[Arc<Run>], encoder: &KeyEncoder, has_oldest: bool) -> Result<Run> {
    let (rows, weights) = all_of(Merge::of(runs.to_vec(), &[], None))?;
    if has_oldest && weights.iter().any(|weight| *weight < 0) {
        return Err(Error::failed("deletes a row that the table does not have"));
    }
    Run::of_sorted(rows, weights, encoder)
}
