//! What commits say of partitions: the offset behind the last record that is in the log.

use std::collections::BTreeMap;

use serde_json::json;

use crate::durable::{Offset, State};
use crate::error::{Error, Result};
use crate::sources::kafka::PartitionOffsets;

/// The partitions of a source as a state has them.
pub(super) struct KnownPartitions {
    pub(super) offsets: PartitionOffsets,
    /// Identifies the cluster, if it said.
    pub(super) cluster: Option<String>,
}

/// The name of a partition among the sources of a state.
fn partition_name(source: &str, topic: &str, partition: i32) -> String {
    format!("kafka {source} {topic}/{partition}")
}

/// What a commit says of partitions.
pub(super) fn of_partitions(
    source: &str,
    offsets: &PartitionOffsets,
    cluster: Option<&str>,
) -> BTreeMap<String, Offset> {
    let offset = |((topic, partition), next): (&(String, i32), &i64)| {
        (partition_name(source, topic, *partition), json!({ "next": next, "cluster": cluster }))
    };
    offsets.iter().map(offset).collect()
}

impl KnownPartitions {
    /// What a state has of a source.
    ///
    /// # Errors
    ///
    /// If an offset is none.
    pub(super) fn of(state: &State, source: &str) -> Result<KnownPartitions> {
        let begin = partition_name(source, "", 0);
        let begin = begin.trim_end_matches("/0");
        let mut known = KnownPartitions { offsets: PartitionOffsets::new(), cluster: None };
        for (name, offset) in state.offsets() {
            let Some((topic, partition)) = name.strip_prefix(begin).and_then(|rest| rest.rsplit_once('/')) else {
                continue;
            };
            let unusable = || Error::unusable(format!("the offset of {name}: found {offset}"));
            let partition = partition.parse().map_err(|_| unusable())?;
            let next = offset["next"].as_i64().ok_or_else(unusable)?;
            known.offsets.insert((topic.to_owned(), partition), next);
            known.cluster = offset["cluster"].as_str().map(str::to_owned).or(known.cluster);
        }
        Ok(known)
    }
}
