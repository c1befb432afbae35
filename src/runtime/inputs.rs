//! The inputs of a job's dataflow.

use std::sync::Arc;

use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Input;
use timely::dataflow::operators::vec::input::Handle;
use timely::dataflow::{Scope, StreamVec};

use crate::columns::{InputSchema, ShopId};
use crate::forest::Forest;
use crate::model::{Customer, Epoch, InputTable, Order, Product, Rejection, Version};
use crate::operators::{Key, Upsert, newest};
use crate::sources::{Decoded, Notes, Source};

/// The inputs of one worker's dataflow.
pub(super) struct Inputs<I: ShopId> {
    pub(super) orders: TableInput<I, Order<I>>,
    pub(super) products: TableInput<I, Arc<Product>>,
    pub(super) customers: TableInput<I, Arc<Customer>>,
    pub(super) models: Handle<Epoch, (Arc<Forest>, Epoch, isize)>,
    pub(super) rejected: Handle<Epoch, (Rejection, Epoch, isize)>,
}

impl<I: ShopId> Inputs<I> {
    pub(super) fn new(source: &dyn Source) -> Self {
        Inputs {
            orders: TableInput::new(source.schema(InputTable::Orders)),
            products: TableInput::new(source.schema(InputTable::Products)),
            customers: TableInput::new(source.schema(InputTable::Customers)),
            models: Handle::new(),
            rejected: Handle::new(),
        }
    }

    pub(super) fn advance_to(&mut self, epoch: Epoch) {
        self.orders.advance_to(epoch);
        self.products.advance_to(epoch);
        self.customers.advance_to(epoch);
        self.models.advance_to(epoch);
        self.rejected.advance_to(epoch);
    }
}

/// The input of a table.
pub(super) struct TableInput<I: Key, R: Key> {
    upserts: Handle<Epoch, Upsert<I, R>>,
    /// Those with versions, if the table has them. Every input costs a little in each epoch.
    versioned: Option<Handle<Epoch, VersionedUpsert<I, R>>>,
}

type VersionedUpsert<I, R> = (Option<Version>, Upsert<I, R>);

impl<I: Key, R: Key> TableInput<I, R> {
    fn new(schema: &InputSchema) -> Self {
        TableInput { upserts: Handle::new(), versioned: schema.version.as_ref().map(|_| Handle::new()) }
    }

    fn advance_to(&mut self, epoch: Epoch) {
        self.upserts.advance_to(epoch);
        self.versioned.iter_mut().for_each(|versioned| versioned.advance_to(epoch));
    }

    /// The upserts that count in their epoch, before the last of each id is chosen.
    pub(super) fn stream<'scope>(
        &mut self,
        scope: Scope<'scope, Epoch>,
        table: InputTable,
    ) -> StreamVec<'scope, Epoch, Upsert<I, R>> {
        let upserts = scope.input_from(&mut self.upserts);
        match &mut self.versioned {
            Some(versioned) => newest(scope.input_from(versioned), &format!("Newest {table}")).concat(upserts),
            None => upserts,
        }
    }

    /// Sends an upsert that counts whatever its version.
    pub(super) fn send(&mut self, upsert: Upsert<I, R>) {
        self.upserts.send(upsert);
    }

    /// Sends the upserts of a batch; returns what else it has.
    pub(super) fn send_decoded(&mut self, mut decoded: Decoded<I, R>) -> (Vec<Rejection>, Notes) {
        match &mut self.versioned {
            Some(versioned) => {
                let upserts = decoded.versions.into_iter().zip(decoded.upserts);
                versioned.send_batch(&mut upserts.collect());
            }
            None => self.upserts.send_batch(&mut decoded.upserts),
        }
        (decoded.rejected, decoded.notes)
    }
}
