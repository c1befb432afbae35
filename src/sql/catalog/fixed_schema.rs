//! A schema whose tables are known when it is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result as QueryResult;

use crate::sql::sql_state::QueryProblem;

/// A schema that nobody can add to.
#[derive(Clone, Debug, Default)]
pub(crate) struct FixedSchema {
    pub(crate) tables: BTreeMap<String, Arc<dyn TableProvider>>,
    /// What can't be read, and why.
    pub(crate) unreadable: BTreeMap<String, QueryProblem>,
}

#[async_trait]
impl SchemaProvider for FixedSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> QueryResult<Option<Arc<dyn TableProvider>>> {
        match self.unreadable.get(name) {
            Some(problem) => Err(problem.clone().into()),
            None => Ok(self.tables.get(name).cloned()),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name) || self.unreadable.contains_key(name)
    }
}
