//! Functions and models of a run.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::forest::Training;
use crate::model::{Price, PriceCategories, Text, money};
use crate::tables::{Catalog, DerivedColumn};

use super::args::RunArgs;
use super::file::{AnomalyKeys, PriceBound, PriceBounds, UdfKeys};

/// The model that scores orders: its source, destination and training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnomalyConfig {
    /// The model file; without one, a model is trained on the orders of the run.
    pub model: Option<PathBuf>,
    /// The file to save it to.
    pub save_model: Option<PathBuf>,
    /// The training settings.
    pub training: Training,
}

pub(super) fn anomaly(args: &RunArgs, file: AnomalyKeys) -> AnomalyConfig {
    let default = Training::default();
    let training = Training {
        seed: file.seed.unwrap_or(default.seed),
        sample: file.sample.unwrap_or(default.sample),
        trees: file.trees.unwrap_or(default.trees),
        points_per_tree: file.points_per_tree.unwrap_or(default.points_per_tree),
        contamination: file.contamination.unwrap_or(default.contamination),
    };
    let (model, save_model) = (args.model.clone().or(file.model), args.save_model.clone().or(file.save_model));
    AnomalyConfig { model, save_model, training }
}

pub(super) fn price_categories(bounds: Option<PriceBounds>) -> Result<PriceCategories> {
    let Some(PriceBounds { mut known, unknown }) = bounds else { return Ok(PriceCategories::default()) };
    let rest = match known.pop() {
        Some(PriceBound { name, below: None }) => Text::from(name),
        _ => {
            let cause = "price_categories.known: the last one must have no bound; it covers all remaining prices";
            return Err(Error::usage(cause));
        }
    };
    let bound = |PriceBound { name, below }: PriceBound| {
        let price = below.as_deref().and_then(money::text_to_e4).and_then(Price::from_e4);
        let price = price.ok_or_else(|| {
            Error::usage(format!("price_categories.known: the bound of {name} is not a price; wanted below: NUMBER"))
        })?;
        Ok((Text::from(name), price))
    };
    let known = known.into_iter().map(bound).collect::<Result<_>>()?;
    let unknown = unknown.map_or(Text::const_new("Unknown"), Text::from);
    PriceCategories::new(known, rest, unknown)
        .map_err(|reason| Error::usage(format!("price_categories.known: {reason}")))
}

pub(super) fn derived_columns(udfs: Vec<UdfKeys>) -> Result<Vec<DerivedColumn>> {
    let derived = |udf: UdfKeys| {
        let table = udf.table.as_deref().unwrap_or("enriched_data");
        let memory_bytes = udf.memory.map(|size| usize::try_from(size.bytes()).unwrap_or(usize::MAX));
        Ok(DerivedColumn {
            table: Catalog::standard().get(table, "udfs.table")?.name().to_owned(),
            name: udf.name,
            function: udf.function,
            columns: udf.columns,
            on_failure: udf.on_failure,
            memory_bytes,
        })
    };
    udfs.into_iter().map(derived).collect()
}
