//! The size of what operators keep, as events of timely's log.

use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::logging_core::Logger;
use timely::progress::Timestamp;

/// The name of the log of states. A program that wants it registers it at each worker, before it builds dataflows.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// use millstream_operators::{STATE_LOG, StateEventBuilder, totals};
/// use differential_dataflow::input::InputSession;
///
/// timely::execute_directly(|worker| {
///     let records = Rc::new(Cell::new(0));
///     let seen = Rc::clone(&records);
///     worker.log_register().expect("there is a register").insert::<StateEventBuilder, _>(STATE_LOG, move |_, events| {
///         events.iter().flatten().for_each(|(_, event)| seen.set(event.records));
///     });
///     let mut input = InputSession::<u64, char, isize>::new();
///     worker.dataflow(|scope| drop(totals(input.to_collection(scope), "Totals", |name, sum| (*name, *sum))));
///     ['M', 'T', 'T'].map(|name| input.insert(name));
///     input.advance_to(1);
///     input.flush();
///     (0..9).for_each(|_| drop(worker.step()));
///     worker.log_register().expect("there is a register").flush();
///     assert_eq!(records.get(), 2);
/// });
/// ```
pub const STATE_LOG: &str = "millstream/state";

/// What an operator keeps now. It is logged when the records have changed by more than a 64th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateEvent {
    /// The worker's number of the operator, as in timely's log.
    pub operator: usize,
    /// How many records it keeps.
    pub records: usize,
    /// About how many bytes they take, without what they refer to.
    pub bytes: usize,
}

/// Collects the events of the log of states.
pub type StateEventBuilder = CapacityContainerBuilder<Vec<(Duration, StateEvent)>>;

/// Logs what one operator keeps, if the program wants it.
pub(crate) struct StateLog {
    logger: Option<Logger<StateEventBuilder>>,
    operator: usize,
    /// The records that were logged last.
    records: usize,
}

impl StateLog {
    pub(crate) fn new<T: Timestamp>(scope: &Scope<'_, T>, operator: usize) -> Self {
        StateLog { logger: scope.worker().logger_for(STATE_LOG), operator, records: 0 }
    }

    /// Logs this if it differs enough from what was logged last.
    pub(crate) fn log(&mut self, records: usize, bytes: impl FnOnce() -> usize) {
        let Some(logger) = &self.logger else { return };
        if records.abs_diff(self.records).saturating_mul(64) > self.records {
            logger.log(StateEvent { operator: self.operator, records, bytes: bytes() });
            self.records = records;
        }
    }
}
