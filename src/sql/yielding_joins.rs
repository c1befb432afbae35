//! Joins that let their query be stopped.
//!
//! DataFusion's plans yield where rows are read. A join can make any number of rows of a few that it has read, and what
//! is above it, such as a count, would take them all before the query is asked whether it is cancelled.

use std::sync::Arc;

use datafusion::common::Result as QueryResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Makes each join yield now and then.
#[derive(Debug)]
pub(super) struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> QueryResult<Arc<dyn ExecutionPlan>> {
        let yielding = |plan: Arc<dyn ExecutionPlan>| match plan.name().ends_with("JoinExec") {
            true => Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as _)),
            false => Ok(Transformed::no(plan)),
        };
        plan.transform_up(yielding).map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "YieldingJoins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
