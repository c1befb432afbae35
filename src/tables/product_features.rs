//! The cleaned name, price category and parsed metadata of each product.

use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use crate::columns::build::{ids, texts};
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::{Id, Text, TextMap, cleaned};
use crate::pipeline::{Epochs, Job};
use crate::udf::Value;

use super::{Layout, Table, TableColumn};

/// A row of `product_features`; its key is `product`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProductFeatures<I> {
    /// The product's id.
    pub product: I,
    /// `clean_name`: its name, cleaned.
    pub name: Option<Text>,
    /// `price_category`: the category of its price.
    pub price_category: Text,
    /// Its metadata, parsed from JSON.
    pub metadata: TextMap,
}

/// `product_features`: see [`ProductFeatures`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ProductFeaturesTable;

impl Table for ProductFeaturesTable {
    type Row<I: Id> = ProductFeatures<I>;

    fn name(&self) -> &str {
        "product_features"
    }

    fn key(&self) -> &[&str] {
        &["product_id"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&["product_name", "metadata"])
    }

    fn reads_lines(&self) -> bool {
        false
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        let categories = job.settings().price_categories.clone();
        job.products().map(move |(id, product)| ProductFeatures {
            product: id,
            name: product.name.as_deref().map(cleaned),
            price_category: categories.of(Some(product.price)).clone(),
            metadata: TextMap::parsed(product.metadata.as_deref()),
        })
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("product_id".into(), ids(rows.iter().map(|row| Some(&row.product)), &layout.product_id)?),
            ("clean_name".into(), texts(rows.iter().map(|row| row.name.as_deref()))),
            ("price_category".into(), texts(rows.iter().map(|row| Some(&row.price_category)))),
            ("metadata".into(), TextMap::column(rows.iter().map(|row| Some(row.metadata.clone())))),
        ])
    }

    fn is_default(&self) -> bool {
        false
    }

    fn is_sent_once(&self) -> bool {
        true
    }
}
