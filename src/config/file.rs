//! The config file (YAML).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::{IgnoredAny, IntoDeserializer};
use serde::{Deserialize, Deserializer};

use crate::sinks::folder::{Codec, OutputFormat};
use crate::sources::{DiscountUnit, FileOrder, Renames, VersionColumn};
use crate::tables::OnFailure;

use super::byte_size::{ByteSize, number_as_text};
use super::cluster::ClusterKeys;
use super::ends::{LateKeys, SinkKeys, SourceKeys};
use super::listen::ListenKeys;
use super::table_names::TableNames;

/// The keys of a config file. All are optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigFile {
    #[serde(deserialize_with = "or_default")]
    pub(super) data: DataKeys,
    #[serde(deserialize_with = "or_default")]
    pub(super) processing: ProcessingKeys,
    #[serde(deserialize_with = "or_default")]
    pub(super) output: OutputKeys,
    pub(super) as_of: Option<String>,
    pub(super) time_zone: Option<String>,
    pub(super) tiers: Option<Vec<TierBound>>,
    pub(super) matrix_size: Option<usize>,
    pub(super) price_categories: Option<PriceBounds>,
    #[serde(deserialize_with = "or_default")]
    pub(super) anomaly: AnomalyKeys,
    #[serde(deserialize_with = "or_default")]
    pub(super) udfs: Vec<UdfKeys>,
    pub(super) tables: Option<TableNames>,
    #[serde(deserialize_with = "or_default")]
    pub(super) views: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) columns: BTreeMap<String, Option<Renames>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) csv: CsvKeys,
    pub(super) date_format: Option<String>,
    #[serde(deserialize_with = "in_lower_case")]
    pub(super) discount: Option<DiscountUnit>,
    pub(super) version: Option<VersionColumn>,
    #[serde(deserialize_with = "in_lower_case")]
    pub(super) file_order: Option<FileOrder>,
    pub(super) max_rejected: Option<u64>,
    pub(super) max_rejected_share: Option<f64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) cluster: ClusterKeys,
    pub(super) durability: Option<String>,
    pub(super) late: Option<LateKeys>,
    #[serde(deserialize_with = "or_default")]
    pub(super) serve: ListenKeys,
    #[serde(deserialize_with = "or_default")]
    pub(super) sources: Vec<SourceKeys>,
    #[serde(deserialize_with = "or_default")]
    pub(super) sinks: Vec<SinkKeys>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DataKeys {
    pub(super) input_path: Option<PathBuf>,
    pub(super) output_path: Option<PathBuf>,
    /// The durable state of a service.
    pub(super) checkpoint_path: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ProcessingKeys {
    pub(super) batch_size: Option<usize>,
    pub(super) parallelism: Option<usize>,
    /// In older files; ignored.
    pub(super) cache_enabled: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OutputKeys {
    #[serde(deserialize_with = "in_lower_case")]
    pub(super) format: Option<OutputFormat>,
    #[serde(deserialize_with = "in_lower_case")]
    pub(super) compression: Option<Codec>,
    pub(super) partition_by: Option<Vec<String>>,
    pub(super) target_file_size: Option<ByteSize>,
    pub(super) bucket_by: Option<BucketBy>,
    pub(super) sort_by: Option<Vec<String>>,
}

/// `csv`: the dialect of CSV files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CsvKeys {
    pub(super) delimiter: Option<String>,
    pub(super) quote: Option<String>,
    pub(super) escape: Option<String>,
    #[serde(deserialize_with = "one_or_several")]
    pub(super) nulls: Vec<String>,
}

/// A text, or a list of them.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<TableNames>::deserialize(deserializer)?.map_or_else(Vec::new, TableNames::into_names))
}

/// `bucket_by`: rows are assigned to `buckets` buckets by the hash of `columns`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BucketBy {
    pub(super) columns: Vec<String>,
    pub(super) buckets: u32,
}

/// A tier: its name and minimum total; the last tier has none.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TierBound {
    pub(super) name: String,
    #[serde(default, deserialize_with = "number_as_text")]
    pub(super) from: Option<String>,
}

/// `price_categories`: names of price ranges.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PriceBounds {
    pub(super) known: Vec<PriceBound>,
    #[serde(default)]
    pub(super) unknown: Option<String>,
}

/// A price category: its name and exclusive upper bound; the last category has none.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PriceBound {
    pub(super) name: String,
    #[serde(default, deserialize_with = "number_as_text")]
    pub(super) below: Option<String>,
}

/// `anomaly`: the model that scores orders.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AnomalyKeys {
    pub(super) model: Option<PathBuf>,
    pub(super) save_model: Option<PathBuf>,
    pub(super) seed: Option<u64>,
    pub(super) sample: Option<usize>,
    pub(super) trees: Option<usize>,
    pub(super) points_per_tree: Option<usize>,
    pub(super) contamination: Option<f64>,
}

/// An entry of `udfs`: a function, its argument columns, and the column it adds.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct UdfKeys {
    pub(super) function: String,
    #[serde(default)]
    pub(super) table: Option<String>,
    pub(super) columns: Vec<String>,
    #[serde(rename = "as")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "some_choice")]
    pub(super) on_failure: Option<OnFailure>,
    #[serde(default)]
    pub(super) memory: Option<ByteSize>,
}

/// A section of which only comments are left is null, and as good as none.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A choice, in letters of either case.
fn in_lower_case<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.map(|text| text.to_lowercase());
    text.map(|text| T::deserialize(text.into_deserializer())).transpose()
}

/// A choice that may be spelled `null`.
fn some_choice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OnFailure>, D::Error> {
    OnFailure::deserialize(deserializer).map(Some)
}
