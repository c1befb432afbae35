//! What the workers of a live job do once it is loaded.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};
use timely::worker::Worker;

use crate::error::Result;
use crate::forest::Forest;
use crate::model::{Change, Epoch, Rejection};
use crate::operators::Position;
use crate::sources::SourceBatch;
use crate::tables::JobId;

use super::context::RunContext;
use super::inputs::Inputs;

/// How long a thread that waits sleeps before it looks whether the job was cancelled.
pub(super) const ASLEEP: Duration = Duration::from_millis(250);

/// What enters the dataflow in one epoch, with ids of the job's type.
pub(super) struct EpochInput<I> {
    pub(super) changes: Vec<Change<I>>,
    pub(super) batches: Vec<SourceBatch>,
    pub(super) forgotten: Vec<Rejection>,
    pub(super) model: Option<Arc<Forest>>,
}

/// The workers of a live job, and what the program hands over to them.
pub(super) struct Followers<I>(Receiver<EpochInput<I>>);

impl<I: JobId> Followers<I> {
    pub(super) fn new(inputs: Receiver<EpochInput<I>>) -> Followers<I> {
        Followers(inputs)
    }

    /// Makes an epoch of each input, until there are no more.
    pub(super) fn follow(&self, worker: &mut Worker, context: &RunContext, mut inputs: Inputs<I>) {
        inputs.advance_to(1);
        // All changes enter at the first worker. The others only do what these cause.
        let mut entrance = (worker.index() == 0).then_some((inputs, 1));
        while worker.has_dataflows() && !context.has_failed() {
            if let Some((inputs, epoch)) = &mut entrance {
                match self.0.try_recv() {
                    Ok(input) => {
                        if let Err(error) = send(input, *epoch, inputs, context) {
                            return context.fail(error);
                        }
                        *epoch += 1;
                        inputs.advance_to(*epoch);
                    }
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => entrance = None,
                }
            }
            worker.step_or_park(Some(ASLEEP));
        }
    }
}

/// Sends what enters in an epoch into the dataflow.
fn send<I: JobId>(input: EpochInput<I>, epoch: Epoch, inputs: &mut Inputs<I>, context: &RunContext) -> Result<()> {
    for batch in &input.batches {
        context.intake.send(batch.table, batch, inputs, epoch)?;
    }
    for (change, position) in input.changes.into_iter().zip(0..) {
        let at = Position::after(position);
        context.intake.count_change(change.table());
        match change {
            Change::Order(id, row) => inputs.orders.send((id, at, row)),
            Change::Product(id, row) => inputs.products.send((id, at, row)),
            Change::Customer(id, row) => inputs.customers.send((id, at, row)),
        }
    }
    context.intake.forget(input.forgotten, inputs, epoch)?;
    if let Some(model) = input.model {
        let former = context.model().map(|former| (former, epoch, -1));
        former.into_iter().for_each(|former| inputs.models.send(former));
        context.set_model(&model);
        inputs.models.send((model, epoch, 1));
    }
    Ok(())
}
