//! Merging runs: the rows of several, key by key, with their weights added up.

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
}

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
        let rest = runs.iter().map(part).collect();
        Merge { runs, rest }
    }

    pub(super) fn run(&self, run: usize) -> &Run {
        &self.runs[run]
    }

    /// The next piece, of at most so many rows unless they have one key.
    pub(super) fn next_piece(&mut self, most: usize) -> Option<Piece> {
        let heads = self.rest.iter().enumerate().filter(|(_, rest)| !rest.is_empty());
        let (mut least, mut others): (Option<(usize, &[u8])>, Option<&[u8]>) = (None, None);
        for (run, rest) in heads {
            let key = self.runs[run].key(rest.start);
            match least {
                Some((_, known)) if known <= key => others = Some(others.map_or(key, |other| other.min(key))),
                Some((_, known)) => (least, others) = (Some((run, key)), Some(known)),
                None => least = Some((run, key)),
            }
        }
        let (run, key) = least?;
        if others != Some(key) && self.runs[run].is_plain() {
            let rest = &self.rest[run];
            let part = rest.start..rest.end.min(rest.start.saturating_add(most));
            let end = others.map_or(part.end, |other| self.runs[run].first_from(&part, other));
            let rows = rest.start..end;
            self.rest[run].start = end;
            return Some(Piece::Alone { run, rows });
        }
        let mut together = Vec::new();
        for (index, (run, rest)) in self.runs.iter().zip(&mut self.rest).enumerate() {
            while rest.start < rest.end && run.key(rest.start) == key {
                together.push((index, rest.start, run.weight(rest.start)));
                rest.start += 1;
            }
        }
        Some(Piece::Together(together))
    }
}

/// Rows that are taken from several runs.
#[derive(Default)]
pub(super) struct Picked {
    rows: Vec<(usize, usize, i64)>,
    /// The ranges of rows that have one key.
    groups: Vec<Range<usize>>,
}

impl Picked {
    pub(super) fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Alone { run, rows } => self.rows.extend(rows.map(|row| (run, row, 1))),
            Piece::Together(rows) => {
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

    /// The rows, and the weight of each.
    pub(super) fn finish(mut self, merge: &Merge) -> Result<(RecordBatch, Vec<i64>)> {
        let batches: Vec<&RecordBatch> = merge.runs.iter().map(|run| run.rows()).collect();
        self.consolidate(&batches)?;
        let places: Vec<_> = self.rows.iter().map(|(run, row, _)| (*run, *row)).collect();
        let rows = interleave_record_batch(&batches, &places).map_err(Error::failed)?;
        Ok((rows, self.rows.into_iter().map(|(_, _, weight)| weight).collect()))
    }
}

/// One run of the rows of several whose keys are in a range.
pub(super) fn merged_within(runs: &[Arc<Run>], range: &KeyRange, encoder: &KeyEncoder) -> Result<Run> {
    let (rows, weights) = all_of(Merge::of(runs.to_vec(), &range.from, range.to.as_deref()))?;
    Run::of_sorted(rows, weights, encoder)
}

fn all_of(mut merge: Merge) -> Result<(RecordBatch, Vec<i64>)> {
    let mut picked = Picked::default();
    while let Some(piece) = merge.next_piece(usize::MAX) {
        picked.add(piece);
    }
    picked.finish(&merge)
}

/// One run of the rows of several. Below the oldest run of a table there is nothing that rows could be deleted from.
pub(super) fn merged(runs: &[Arc<Run>], encoder: &KeyEncoder, has_oldest: bool) -> Result<Run> {
    let (rows, weights) = all_of(Merge::of(runs.to_vec(), &[], None))?;
    if has_oldest && weights.iter().any(|weight| *weight < 0) {
        return Err(Error::failed("deletes a row that the table does not have"));
    }
    Run::of_sorted(rows, weights, encoder)
}
