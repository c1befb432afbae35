//! Columns of a table of another system, as the job has them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef, Schema};

use crate::columns::InputSchema;
use crate::error::Result;
use crate::model::InputTable;
use crate::sources::{MalformedRow, RowNumbers, SourceBatch};

use super::find::{InputFile, InputFormat};
use super::options::{FileOptions, Renames};
use super::read::FileColumns;
use super::schema::{self, FilePlan};

/// A table of another system whose columns are mapped to those of an input table, as those of a file are.
pub(crate) struct ForeignTable {
    schema: InputSchema,
    plan: FilePlan,
    /// Its name there, for messages.
    name: PathBuf,
}

impl ForeignTable {
    /// Maps the columns of a table that nobody has read yet.
    ///
    /// # Errors
    ///
    /// If a column is missing, or has an unusable type.
    pub(crate) fn new(table: InputTable, name: &str, columns: &Schema, options: &FileOptions) -> Result<ForeignTable> {
        let files = [(as_file(name), columns.clone())];
        let none = Renames::new();
        let renames = options.columns.get(table.name()).unwrap_or(&none);
        let (schema, mut plans) = schema::unify(table, &files, renames, options)?;
        let plan = plans.pop().expect("there is a plan for each file");
        Ok(ForeignTable { schema, plan, name: name.into() })
    }

    /// Maps the columns of a table to those that are known; returns the ones that are new, too.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn fit(
        known: &InputSchema,
        name: &str,
        columns: &Schema,
        options: &FileOptions,
    ) -> Result<(ForeignTable, Vec<FieldRef>)> {
        let none = Renames::new();
        let renames = options.columns.get(known.table.name()).unwrap_or(&none);
        let (plan, new) = schema::fit(known, &as_file(name), columns, renames, options)?;
        Ok((ForeignTable { schema: known.clone(), plan, name: name.into() }, new))
    }

    /// The columns of the input table.
    pub(crate) fn schema(&self) -> &InputSchema {
        &self.schema
    }

    /// The positions of the columns that are the id of a row.
    pub(crate) fn id_positions(&self) -> Vec<usize> {
        self.plan.cores[0].positions()
    }

    /// True if the column at this position is read.
    pub(crate) fn reads(&self, position: usize) -> bool {
        self.plan.reads(position)
    }

    /// The type with which the column at this position is carried; `None` if the job computes with it, or does not read
    /// it.
    pub(crate) fn carried_as(&self, position: usize) -> Option<&DataType> {
        let mut carried = self.plan.carried.iter().zip(&self.schema.carried);
        carried.find(|(place, _)| place.positions() == [position]).map(|(_, field)| field.data_type())
    }

    /// Rows as the job has them.
    ///
    /// # Errors
    ///
    /// If a column can't be read as the type that it had.
    pub(crate) fn batch(
        &self,
        origin: &Arc<str>,
        part: usize,
        columns: &[ArrayRef],
        numbers: RowNumbers,
        malformed: Vec<MalformedRow>,
    ) -> Result<SourceBatch> {
        let (schema, plan, path, origin) = (&self.schema, &self.plan, self.name.as_path(), Arc::clone(origin));
        FileColumns { schema, plan, path, part, origin }.arrange(columns, numbers, malformed)
    }
}

/// What messages name.
fn as_file(name: &str) -> InputFile {
    let (path, format) = (Path::new(name).to_owned(), InputFormat::Parquet);
    InputFile { path, name: name.to_owned(), format, compression: None, partition: Vec::new() }
}
