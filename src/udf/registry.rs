//! Functions by name, for a config to name them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::PriceCategories;

use super::{
    Arguments, ColumnFunction, Udf, Value, calculate_discount, categorize_price, clean_text, parse_json_metadata,
    weekday,
};

/// Functions by name.
///
/// | built in | takes | gives |
/// |---|---|---|
/// | [`clean_text`] | a text | it, trimmed, in lower case, each double space made single |
/// | [`calculate_discount`] | a price and a discount | price × (1 − discount) |
/// | [`categorize_price`] | a price | the name of its category |
/// | [`parse_json_metadata`] | a text | a JSON object as a map of texts |
/// | [`weekday`] | a date | 1 for Monday to 7; vectorised |
/// | [`anomaly_score`](super::anomaly_score) | a quantity, a price, a discount | how normal they are, by a saved model; vectorised, and there if a run has such a model |
#[derive(Clone)]
pub struct Registry {
    functions: BTreeMap<String, Arc<dyn ColumnFunction>>,
}

impl Registry {
    /// The functions that are built in; prices are categorised by these categories.
    #[must_use]
    pub fn built_in(categories: &PriceCategories) -> Registry {
        let functions: [Arc<dyn ColumnFunction>; 5] = [
            Arc::new(clean_text()),
            Arc::new(calculate_discount()),
            Arc::new(categorize_price(categories)),
            Arc::new(parse_json_metadata()),
            Arc::new(weekday()),
        ];
        Registry { functions: functions.into_iter().map(|function| (function.name().to_owned(), function)).collect() }
    }

    /// Adds a function under its name.
    ///
    /// # Errors
    ///
    /// If there is one of that name.
    pub fn register<A: Arguments, B: Value>(&mut self, function: Udf<A, B>) -> Result<()> {
        let name = function.name().to_owned();
        if self.functions.contains_key(&name) {
            return Err(Error::usage(format!("a function {name} is registered already")));
        }
        self.functions.insert(name, Arc::new(function));
        Ok(())
    }

    /// The function of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn ColumnFunction>> {
        self.functions.get(name)
    }

    /// The functions, each replaced by what `wrap` makes of it.
    pub(crate) fn map(self, wrap: impl Fn(Arc<dyn ColumnFunction>) -> Arc<dyn ColumnFunction>) -> Registry {
        let functions = self.functions.into_iter().map(|(name, function)| (name, wrap(function)));
        Registry { functions: functions.collect() }
    }

    /// The names of all functions, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
