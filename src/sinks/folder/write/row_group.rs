//! The columns of a Parquet row group, encoded by one worker.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::columns::{Sharing, is_dictionary_of, is_text};
use crate::error::{Error, Result};

use super::dictionary_column::DictionaryColumn;
use super::format::Codec;

/// A row group being encoded.
pub(super) struct RowGroup {
    schema: SchemaRef,
    codec: Codec,
    /// The sort columns.
    sorted_by: Vec<String>,
    /// One for each leaf column; empty until the first rows have determined the encodings.
    columns: Vec<ColumnEncoder>,
}

/// An encoded row group. Without columns if it has no rows.
pub(super) struct EncodedRowGroup(Vec<EncodedColumn>);

impl RowGroup {
    pub(super) fn new(schema: SchemaRef, codec: Codec, sorted_by: &[String]) -> RowGroup {
        RowGroup { schema, codec, sorted_by: sorted_by.to_vec(), columns: Vec::new() }
    }

    /// The approximate size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.columns.iter().map(ColumnEncoder::bytes).sum()
    }

    /// True if a dictionary is as large as it may be.
    pub(super) fn is_full(&self) -> bool {
        let is_full = |column: &ColumnEncoder| matches!(column, ColumnEncoder::Dictionary(column) if column.is_full());
        self.columns.iter().any(is_full)
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.columns.is_empty() {
            self.columns = column_encoders(batch, &self.schema, self.codec, &self.sorted_by)?;
        }
        let mut columns = self.columns.iter_mut();
        let mut fields = self.schema.fields().iter().zip(batch.columns());
        fields.try_for_each(|(field, array)| write_column(field, array, &mut columns))
    }

    pub(super) fn close(self) -> Result<EncodedRowGroup> {
        self.columns.into_iter().map(ColumnEncoder::close).collect::<Result<_>>().map(EncodedRowGroup)
    }
}

impl EncodedRowGroup {
    /// Appends the row group to a file, unless it has no rows.
    pub(super) fn append_to<W: Write + Send>(self, file: &mut SerializedFileWriter<W>) -> parquet::errors::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut row_group = file.next_row_group()?;
        for column in self.0 {
            match column {
                EncodedColumn::Arrow(chunk) => chunk.append_to_row_group(&mut row_group)?,
                EncodedColumn::Dictionary(bytes, close) => row_group.append_column(&bytes, *close)?,
            }
        }
        row_group.close()?;
        Ok(())
    }
}

/// Encodes a leaf column of a row group.
enum ColumnEncoder {
    Arrow(Box<ArrowColumnWriter>),
    Dictionary(Box<DictionaryColumn>),
}

/// An encoded leaf column of a row group.
enum EncodedColumn {
    Arrow(Box<ArrowColumnChunk>),
    Dictionary(Bytes, Box<ColumnCloseResult>),
}

impl ColumnEncoder {
    fn bytes(&self) -> usize {
        match self {
            ColumnEncoder::Arrow(writer) => writer.get_estimated_total_bytes(),
            ColumnEncoder::Dictionary(column) => column.bytes(),
        }
    }

    fn close(self) -> Result<EncodedColumn> {
        match self {
            ColumnEncoder::Arrow(writer) => {
                writer.close().map(Box::new).map(EncodedColumn::Arrow).map_err(Error::failed)
            }
            ColumnEncoder::Dictionary(column) => {
                let (bytes, close) = column.close()?;
                Ok(EncodedColumn::Dictionary(bytes, Box::new(close)))
            }
        }
    }
}

/// Writes a column of a batch to the next encoders, one for each leaf.
fn write_column<'a>(
    field: &Field,
    array: &ArrayRef,
    encoders: &mut impl Iterator<Item = &'a mut ColumnEncoder>,
) -> Result<()> {
    let mut next = || encoders.next().expect("each leaf has an encoder");
    let mut encoder = next();
    if let ColumnEncoder::Dictionary(column) = encoder {
        return match is_dictionary(field, array) {
            true => column.write(array),
            false => column.write(&identity_dictionary(array)?),
        };
    }
    let plain = if is_dictionary(field, array) { cast(array, field.data_type()) } else { Ok(Arc::clone(array)) };
    let leaves = compute_leaves(field, &plain.map_err(Error::failed)?).map_err(Error::failed)?;
    for (nth, leaf) in leaves.iter().enumerate() {
        if nth > 0 {
            encoder = next();
        }
        let ColumnEncoder::Arrow(writer) = encoder else { unreachable!("nested columns are no dictionaries") };
        writer.write(leaf).map_err(Error::failed)?;
    }
    Ok(())
}

/// A dictionary of which each row has a value of its own.
fn identity_dictionary(values: &ArrayRef) -> Result<ArrayRef> {
    let keys = UInt32Array::from_iter_values(0..u32::try_from(values.len()).map_err(Error::failed)?);
    Sharing::Dictionary.take(values, &keys)
}

/// True if a column comes as a dictionary of what the table has.
fn is_dictionary(field: &Field, array: &ArrayRef) -> bool {
    is_dictionary_of(array.data_type(), field.data_type())
}

/// The properties of a file.
pub(super) fn properties(codec: Codec) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(codec.of_parquet())
        .set_created_by(format!("millstream {}", env!("CARGO_PKG_VERSION")))
        .set_statistics_enabled(EnabledStatistics::Chunk)
}

/// Encoders of a row group of a table, the first rows of which are `first`.
fn column_encoders(
    first: &RecordBatch,
    schema: &SchemaRef,
    codec: Codec,
    sorted_by: &[String],
) -> Result<Vec<ColumnEncoder>> {
    // Min/max statistics of unsorted text do not help pruning, but are expensive. Rows are clustered by customer, so
    // ids keep theirs.
    let is_in_order = |field: &Field| sorted_by.contains(field.name()) || field.name().ends_with("_id");
    let mut properties = properties(codec);
    for (field, column) in schema.fields().iter().zip(first.columns()) {
        let path = || ColumnPath::from(field.name().as_str());
        if !is_dictionary(field, column) && !repeats(column)? {
            properties = properties.set_column_dictionary_enabled(path(), false);
        }
        if is_text(field.data_type()) && !is_in_order(field) {
            properties = properties.set_column_statistics_enabled(path(), EnabledStatistics::None);
        }
    }
    let writer = ArrowWriter::try_new(std::io::sink(), Arc::clone(schema), Some(properties.build()));
    let (file, writers) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(Error::failed)?;
    let writers = writers.create_column_writers(0).map_err(Error::failed)?;
    let leaves = file.schema_descr();
    let encoders = writers.into_iter().enumerate().map(|(leaf, writer)| {
        let of = leaves.get_column_root_idx(leaf);
        let field = schema.field(of);
        // A dictionary column has no statistics of texts.
        let wants_statistics = is_text(field.data_type()) && is_in_order(field);
        match is_dictionary(field, first.column(of)) && !wants_statistics {
            true => ColumnEncoder::Dictionary(Box::new(DictionaryColumn::new(leaves.column(leaf), codec))),
            false => ColumnEncoder::Arrow(Box::new(writer)),
        }
    });
    Ok(encoders.collect())
}

/// True if dictionary encoding pays off. For columns with mostly distinct values, such as order ids and amounts,
/// looking up each value costs more than writing it.
fn repeats(column: &ArrayRef) -> Result<bool> {
    const FEW: usize = 64;
    if column.len() < FEW || column.data_type().is_nested() {
        return Ok(true);
    }
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())]).map_err(Error::failed)?;
    let rows = converter.convert_columns(std::slice::from_ref(column)).map_err(Error::failed)?;
    let distinct: HashSet<_> = rows.iter().collect();
    Ok(distinct.len() < column.len() / 4 * 3)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray};
    use arrow::compute::{concat, concat_batches};
    use arrow::datatypes::{DataType, Schema, UInt32Type};
    use parquet::arrow::arrow_reader::{
        ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
    };
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
    use parquet::file::statistics::Statistics;

    use super::*;

    const CODECS: [Codec; 5] = [Codec::Snappy, Codec::Zstd, Codec::Gzip, Codec::Lz4, Codec::None];

    /// Numbers that look random.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, sides: u32) -> u32 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from((self.0 >> 33) % u64::from(sides)).unwrap()
        }
    }

    /// A dictionary of each type, with nulls among its values.
    fn dictionaries(values: u32, dice: &mut Dice) -> Vec<ArrayRef> {
        let mut numbers = |sides: u32| -> Vec<Option<i32>> {
            let number = |_| Some(dice.below(sides)).filter(|number| number % 11 != 3).map(|number| number as i32 - 40);
            (0..values).map(number).collect()
        };
        let texts = |numbers: Vec<Option<i32>>| numbers.into_iter().map(|number| Some(format!("text {}", number?)));
        let floats =
            |number: Option<i32>| number.map(|number| if number % 7 == 1 { f64::NAN } else { f64::from(number) });
        vec![
            Arc::new(StringArray::from_iter(texts(numbers(1_000_000)))),
            Arc::new(StringArray::from_iter(texts(numbers(5)))),
            Arc::new(Int32Array::from_iter(numbers(300))),
            Arc::new(Int64Array::from_iter(numbers(100_000).into_iter().map(|number| number.map(i64::from)))),
            Arc::new(Float64Array::from_iter(numbers(90).into_iter().map(floats))),
            Arc::new(Date32Array::from_iter(numbers(2))),
            Arc::new(StringArray::from(vec![None::<&str>; values as usize])),
        ]
    }

    /// Batches of shared values, and the same rows with values of their own. Some batches share a dictionary, and some
    /// have none.
    fn batches(rows: u32, seed: u64) -> (SchemaRef, Vec<RecordBatch>, RecordBatch) {
        let mut dice = Dice(seed);
        let (mut shared, mut plain, mut dictionary) = (Vec::new(), Vec::new(), dictionaries(1, &mut dice));
        let field = |(nth, column): (usize, &ArrayRef)| Field::new(format!("c{nth}"), column.data_type().clone(), true);
        let schema = Arc::new(Schema::new(dictionary.iter().enumerate().map(field).collect::<Vec<_>>()));
        for nth in 0..rows.div_ceil(3_000) {
            if nth % 4 == 0 {
                let most = [1, 10, 5_000][dice.below(3) as usize];
                let values = 1 + dice.below(most);
                dictionary = dictionaries(values, &mut dice);
            }
            let (count, run) = (3_000.min(rows - nth * 3_000), 1 + dice.below(40));
            let mut place = None;
            let sides = u32::try_from(dictionary[0].len()).unwrap();
            let places: UInt32Array = (0..count)
                .map(|_| {
                    if dice.below(run) == 0 {
                        place = Some(dice.below(sides + 1)).filter(|place| *place < sides);
                    }
                    place
                })
                .collect();
            let columns = dictionary.iter().map(|values| {
                Arc::new(DictionaryArray::<UInt32Type>::try_new(places.clone(), Arc::clone(values)).unwrap())
                    as ArrayRef
            });
            let columns: Vec<ArrayRef> = columns.collect();
            let own =
                columns.iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()).unwrap());
            let own = RecordBatch::try_new(Arc::clone(&schema), own.collect()).unwrap();
            let is_shared = nth == 0 || dice.below(5) > 0;
            shared.push(match is_shared {
                true => RecordBatch::try_new(crate::columns::with_dictionaries(&schema, &columns), columns).unwrap(),
                false => own.clone(),
            });
            plain.push(own);
        }
        let plain = concat_batches(&schema, &plain).unwrap();
        (schema, shared, plain)
    }

    /// A file of one row group.
    fn file_of(schema: &SchemaRef, batches: &[RecordBatch], codec: Codec) -> Bytes {
        let mut rows = RowGroup::new(Arc::clone(schema), codec, &[]);
        batches.iter().for_each(|batch| rows.write(batch).unwrap());
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties(codec).build())).unwrap();
        let (mut writer, _) = writer.into_serialized_writer().unwrap();
        rows.close().unwrap().append_to(&mut writer).unwrap();
        Bytes::from(writer.into_inner().unwrap())
    }

    fn read(file: &Bytes, selection: Option<RowSelection>) -> (Arc<ParquetMetaData>, RecordBatch) {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let mut reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap();
        if let Some(selection) = selection {
            reader = reader.with_row_selection(selection);
        }
        let (metadata, schema) = (Arc::clone(reader.metadata()), Arc::clone(reader.schema()));
        let rows: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        (metadata, concat_batches(&schema, &rows).unwrap())
    }

    #[test]
    fn shared_values_are_read_as_those_of_each_row() {
        for (seed, codec) in (0..).zip(CODECS.into_iter().cycle().take(60)) {
            let rows = [1, 2_999, 70_000][usize::try_from(seed).unwrap() % 3];
            let (schema, shared, plain) = batches(rows, seed);
            let file = file_of(&schema, &shared, codec);
            let (of_shared, found) = read(&file, None);
            assert_eq!(found, plain, "{codec:?}, seed {seed}");
            // The statistics, and what readers need to skip pages, are those of the writer of values.
            let (of_plain, _) = read(&file_of(&schema, std::slice::from_ref(&plain), codec), None);
            for (ours, theirs) in of_shared.row_group(0).columns().iter().zip(of_plain.row_group(0).columns()) {
                let [ours, theirs] = [ours, theirs].map(|column| (column.statistics(), column.column_path().string()));
                if let Some(theirs) = theirs.0 {
                    let ours = ours.0.unwrap_or_else(|| panic!("{} has statistics", theirs));
                    assert_eq!(ours.min_bytes_opt(), theirs.min_bytes_opt(), "seed {seed}");
                    assert_eq!(ours.max_bytes_opt(), theirs.max_bytes_opt(), "seed {seed}");
                    assert_eq!(ours.null_count_opt(), theirs.null_count_opt(), "seed {seed}");
                }
            }
            if rows > 60_000 {
                let skip = 45_123;
                let last = RowSelection::from(vec![RowSelector::skip(skip), RowSelector::select(1_000)]);
                assert_eq!(read(&file, Some(last)).1, plain.slice(skip, 1_000), "seed {seed}");
            }
        }
    }

    /// The statistics of a column of these values, as a dictionary and as they are.
    fn statistics(name: &str, values: &ArrayRef) -> [Option<Statistics>; 2] {
        let schema = Arc::new(Schema::new(vec![Field::new(name, values.data_type().clone(), true)]));
        [identity_dictionary(values).unwrap(), Arc::clone(values)].map(|column| {
            let columns = vec![column];
            let batch = RecordBatch::try_new(crate::columns::with_dictionaries(&schema, &columns), columns).unwrap();
            let (metadata, _) = read(&file_of(&schema, &[batch], Codec::None), None);
            metadata.row_group(0).column(0).statistics().cloned()
        })
    }

    #[test]
    fn statistics_are_those_of_the_writer_of_values() {
        for numbers in [
            vec![Some(0.0)],
            vec![Some(-0.0)],
            vec![Some(0.0), Some(-0.0), None],
            vec![Some(f64::NAN), None],
            vec![Some(f64::NAN), Some(f64::NAN), Some(2.0), Some(-3.5)],
            vec![None],
        ] {
            let [ours, theirs] = statistics("price", &(Arc::new(Float64Array::from(numbers)) as _));
            let [ours, theirs] = [ours, theirs].map(|found| found.expect("numbers have them"));
            // A NaN does not equal itself.
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
            // The format wants the count always; that writer leaves it out where there is no value.
            assert_eq!(ours.nan_count_opt(), Some(theirs.nan_count_opt().unwrap_or(0)));
        }
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["b", "a"]));
        assert_eq!(statistics("name", &texts), [None, None]);
        let [ours, theirs] = statistics("maker_id", &texts);
        assert!(ours.is_some() && ours == theirs, "ids keep theirs");
    }

    #[test]
    fn a_row_group_ends_once_a_dictionary_is_large() {
        let (schema, texts) = (Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)])), |from: u32| {
            Arc::new(StringArray::from_iter_values((from..from + 500).map(|n| format!("{n:016384}")))) as _
        });
        let mut rows = RowGroup::new(Arc::clone(&schema), Codec::Snappy, &[]);
        for nth in 0..3 {
            assert_eq!(rows.is_full(), nth * 500 * 16_384 >= 16 << 20, "after {nth} batches");
            let columns = vec![identity_dictionary(&texts(nth * 500)).unwrap()];
            rows.write(&RecordBatch::try_new(crate::columns::with_dictionaries(&schema, &columns), columns).unwrap())
                .unwrap();
        }
        assert!(rows.is_full());
    }

    #[test]
    fn dictionaries_that_come_late_are_read_too() {
        let (schema, shared, plain) = batches(20_000, 7);
        let first = plain.slice(0, 100);
        let batches = [vec![first.clone()], shared].concat();
        let (_, found) = read(&file_of(&schema, &batches, Codec::Snappy), None);
        for ((found, first), rest) in found.columns().iter().zip(first.columns()).zip(plain.columns()) {
            assert_eq!(found, &concat(&[first, rest]).unwrap());
        }
    }
}
