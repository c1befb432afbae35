//! What a topic has.

use std::collections::HashMap;

use rdkafka::{Message, Offset};
use twox_hash::XxHash3_128;

use crate::error::Result;
use crate::kafka::KafkaAddress;

use super::topics::TargetTopic;

/// The rows of a topic: for each key, a digest.
///
/// # Errors
///
/// If the brokers do not answer.
pub(super) fn rows_of(
    address: &KafkaAddress,
    topic: &TargetTopic,
    partitions: &[i32],
) -> Result<HashMap<Vec<u8>, u128>> {
    let mut rows = HashMap::new();
    let from: Vec<_> = partitions.iter().map(|partition| (*partition, Offset::Beginning)).collect();
    address.read_to_end(&topic.topic, &from, |record| {
        let Some(record) = record else { return Ok(()) };
        let key = record.key().unwrap_or_default();
        match record.payload() {
            // What is written in another way is no row that is wanted, and must go, too.
            Some(value) => _ = rows.insert(key.to_owned(), topic.form.row_of(value).map_or(0, |row| digest(&row))),
            None => _ = rows.remove(key),
        }
        Ok(())
    })?;
    Ok(rows)
}

/// A digest of a row, by which equal rows are known.
pub(super) fn digest(row: &[u8]) -> u128 {
    XxHash3_128::oneshot(row)
}
