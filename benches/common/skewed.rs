//! Shops in which three in ten orders are of one customer, or of one product.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::folder;

/// The shop with three in ten orders given to one customer or product; made once.
pub fn skewed(uniform: &Path, scale: f64, column: &str) -> PathBuf {
    let shop = folder("shops").join(format!("scale-{scale}-{column}"));
    if shop.join("orders").exists() {
        return shop;
    }
    let making = shop.with_extension("making");
    drop(fs::remove_dir_all(&making));
    for table in ["orders", "products", "customers"] {
        fs::create_dir_all(making.join(table)).expect("the target folder can be written");
        for file in fs::read_dir(uniform.join(table)).expect("the shop is there") {
            let file = file.expect("the shop can be read").path();
            let copy = making.join(table).join(file.file_name().expect("a file has a name"));
            if table == "orders" {
                rewrite(&file, &copy, column);
            } else {
                fs::copy(&file, &copy).expect("the target folder can be written");
            }
        }
    }
    fs::rename(&making, &shop).expect("the target folder can be written");
    shop
}

/// Copies a file, with id 1 in three of ten rows of a column.
fn rewrite(from: &Path, to: &Path, column: &str) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(from).expect("the shop can be read"));
    let reader = reader.and_then(|reader| reader.with_batch_size(1 << 16).build()).expect("the shop can be read");
    let mut writer: Option<ArrowWriter<File>> = None;
    for batch in reader {
        let batch = batch.expect("the shop can be read");
        let (at, _) = batch.schema().column_with_name(column).expect("a shop has the column");
        let ids = batch.column(at).as_primitive::<Int64Type>();
        let ids = ids.iter().enumerate().map(|(row, id)| if row * 7 % 10 < 3 { Some(1) } else { id });
        let mut columns = batch.columns().to_vec();
        columns[at] = Arc::new(Int64Array::from_iter(ids)) as ArrayRef;
        let batch = RecordBatch::try_new(batch.schema(), columns).expect("the same schema");
        let writer = writer.get_or_insert_with(|| {
            let file = File::create(to).expect("the target folder can be written");
            ArrowWriter::try_new(file, batch.schema(), None).expect("the target folder can be written")
        });
        writer.write(&batch).expect("the target folder can be written");
    }
    writer.expect("the shop has orders").close().expect("the target folder can be written");
}
