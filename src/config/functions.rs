//! Functions and models that a run is asked for.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::forest::Training;
use crate::model::{Price, PriceCategories, Text, money};
use crate::tables::{Catalog, DerivedColumn};

use super::RunArgs;
use super::file::{AnomalyKeys, PriceBound, PriceBounds, UdfKeys};

/// Where the model that scores orders comes from, and where it goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnomalyConfig {
    /// The file that has it; without one it is trained on the orders that are read.
    pub model: Option<PathBuf>,
    /// The file it is saved to.
    pub save_model: Option<PathBuf>,
    /// How it is trained.
    pub training: Training,
}

pub(super) fn anomaly(args: &RunArgs, file: AnomalyKeys) -> Result<AnomalyConfig> {
    let usual = Training::default();
    let training = Training {
        seed: file.seed.unwrap_or(usual.seed),
        sample: file.sample.unwrap_or(usual.sample),
        trees: file.trees.unwrap_or(usual.trees),
        points_per_tree: file.points_per_tree.unwrap_or(usual.points_per_tree),
        contamination: file.contamination.unwrap_or(usual.contamination),
    };
    training.check().map_err(|reason| Error::usage(format!("anomaly.{reason}")))?;
    let (model, save_model) = (args.model.clone().or(file.model), args.save_model.clone().or(file.save_model));
    Ok(AnomalyConfig { model, save_model, training })
}

pub(super) fn price_categories(bounds: Option<PriceBounds>) -> Result<PriceCategories> {
    let Some(PriceBounds { mut known, unknown }) = bounds else { return Ok(PriceCategories::default()) };
    let rest = match known.pop() {
        Some(PriceBound { name, below: None }) => Text::from(name),
        _ => {
            let cause = "price_categories.known: the last one must have no bound: it takes all that the others do not";
            return Err(Error::usage(cause));
        }
    };
    let bound = |PriceBound { name, below }: PriceBound| {
        let price = below.as_deref().and_then(money::text_to_e4).and_then(Price::from_e4);
        let price = price.ok_or_else(|| {
            Error::usage(format!("price_categories.known: {name} has no bound that is a price; wanted below: NUMBER"))
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
