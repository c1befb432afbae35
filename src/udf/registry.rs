//! Functions by name, as the config refers to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::PriceCategories;

use super::{ColumnFunction, calculate_discount, categorize_price, clean_text, parse_json_metadata, weekday};

/// Functions by name.
///
/// | built in | arguments | result |
/// |---|---|---|
/// | [`clean_text`] | text | trimmed, lower-cased, double spaces replaced by single ones |
/// | [`calculate_discount`] | price, discount | price × (1 − discount) |
/// | [`categorize_price`] | price | the name of its category |
/// | [`parse_json_metadata`] | text | the JSON object as a map of texts |
/// | [`weekday`] | date | 1 (Monday) to 7 (Sunday); vectorised |
/// | [`anomaly_score`](super::anomaly_score) | quantity, price, discount | score by the saved model; vectorised |
#[derive(Clone, Default)]
pub struct Registry {
    functions: BTreeMap<String, Arc<dyn ColumnFunction>>,
}

impl Registry {
    /// The built-in functions. `categorize_price` uses `categories`.
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

    /// Registers a function under its [`name`](ColumnFunction::name): a [`Udf`](super::Udf), or an own implementation
    /// of [`ColumnFunction`].
    ///
    /// ```
    /// use millstream::model::PriceCategories;
    /// use millstream::udf::{Registry, Udf};
    ///
    /// let mut registry = Registry::built_in(&PriceCategories::default());
    /// registry.register(Udf::scalar("double", |n: i64| 2 * n))?;
    /// assert!(registry.get("double").is_some());
    /// # Ok::<(), millstream::error::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the name is taken.
    pub fn register(&mut self, function: impl ColumnFunction + 'static) -> Result<()> {
        let name = function.name().to_owned();
        if self.functions.contains_key(&name) {
            return Err(Error::usage(format!("a function {name} is registered already")));
        }
        self.functions.insert(name, Arc::new(function));
        Ok(())
    }

    /// These functions and others.
    ///
    /// # Errors
    ///
    /// If a name is taken.
    pub(crate) fn with_all(mut self, others: &Registry) -> Result<Registry> {
        for (name, function) in &others.functions {
            if self.functions.insert(name.clone(), Arc::clone(function)).is_some() {
                return Err(Error::usage(format!("a function {name} is registered already")));
            }
        }
        Ok(self)
    }

    /// The function with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn ColumnFunction>> {
        self.functions.get(name)
    }

    /// Wraps every function.
    pub(crate) fn map(self, wrap: impl Fn(Arc<dyn ColumnFunction>) -> Arc<dyn ColumnFunction>) -> Registry {
        let functions = self.functions.into_iter().map(|(name, function)| (name, wrap(function)));
        Registry { functions: functions.collect() }
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
