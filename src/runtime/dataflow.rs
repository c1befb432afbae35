//! The dataflow of a job, on one worker.

use std::sync::Arc;

use timely::dataflow::Scope;
use timely::dataflow::operators::vec::Input;

use differential_dataflow::AsCollection;

use crate::model::{Epoch, InputTable};
use crate::operators::latest_inspect;
use crate::pipeline::{Job, Shop};
use crate::tables::JobId;

use super::context::RunContext;
use super::ends::Ends;
use super::inputs::Inputs;

/// Builds the dataflow, from the inputs of a worker to the ends of the tables.
pub(super) fn build<I: JobId>(scope: Scope<'_, Epoch>, inputs: &mut Inputs<I>, context: &Arc<RunContext>) {
    let (intake, of_products, of_customers) = (&context.intake, InputTable::Products, InputTable::Customers);
    let products = inputs.products.stream(scope, of_products);
    let products = latest_inspect(products, "Products by id", intake.count_conflicts(of_products));
    let customers = inputs.customers.stream(scope, of_customers);
    let customers = latest_inspect(customers, "Customers by id", intake.count_conflicts(of_customers));
    let shop = Shop {
        orders: inputs.orders.stream(scope, InputTable::Orders),
        on_conflict: Some(Box::new(intake.count_conflicts(InputTable::Orders))),
        products: intake.count_held(of_products, products),
        customers: intake.count_held(of_customers, customers),
        models: Some(scope.input_from(&mut inputs.models).as_collection()),
    };
    // Every input costs a little in each epoch, so one that nobody reads is left out.
    let rejected = context.takes_rejected().then(|| scope.input_from(&mut inputs.rejected).as_collection());
    let waves = context.waves();
    let mut ends = Ends::new(context, scope, waves.as_ref().map(|waves| waves.gate.clone()));
    // Where lines are arranged, they are counted there, and each table can tell that they are.
    let reads_lines = context.tables.read_lines();
    let count = (!reads_lines).then(|| context.intake.count_orders());
    let ((), models) = Job::build_with_models(shop, context.settings.clone(), count, waves, |job| {
        if reads_lines {
            context.intake.count_lines(job.lines_by_customer());
        }
        ends.add_tables(job);
    });
    if let Some(models) = models {
        let context = Arc::clone(context);
        models.inspect(move |(model, _, diff)| (0..*diff).for_each(|_| context.set_model(model)));
    }
    ends.build(rejected);
}
