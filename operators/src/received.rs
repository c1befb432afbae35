//! How far an operator has received the batches of an arrangement.
//!
//! The trace is shared, and may be ahead of what is in flight to the operator: a batch may reach it after the trace
//! has merged that batch with others, perhaps to nothing. Only what the input's frontier has passed is known to have
//! arrived.

use differential_dataflow::trace::TraceReader;
use timely::PartialOrder;
use timely::progress::Timestamp;
use timely::progress::frontier::{Antichain, AntichainRef};

/// A bound of the trace before which all updates have been received. It never moves back.
pub(crate) struct Received<T>(Antichain<T>);

impl<T: Timestamp> Received<T> {
    pub(crate) fn nothing() -> Self {
        Received(Antichain::from_elem(T::minimum()))
    }

    pub(crate) fn frontier(&self) -> AntichainRef<'_, T> {
        self.0.borrow()
    }

    /// Notes a batch that was received, up to its upper bound.
    pub(crate) fn advance(&mut self, upper: &Antichain<T>) {
        if PartialOrder::less_equal(&self.0, upper) {
            self.0.clone_from(upper);
        }
    }

    /// Notes all spans of the trace that the input's frontier has passed. Those without updates are not sent as
    /// batches.
    pub(crate) fn advance_through<Tr: TraceReader<Time = T>>(&mut self, trace: &Tr, input: AntichainRef<'_, T>) {
        trace.map_spans(|span| {
            if PartialOrder::less_equal(&span.upper().borrow(), &input) {
                self.advance(span.upper());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_arrives_late_moves_nothing_back() {
        let mut received = Received::nothing();
        for (upper, expected) in [(2, 2), (5, 5), (3, 5), (6, 6)] {
            received.advance(&Antichain::from_elem(upper));
            assert_eq!(received.frontier(), Antichain::from_elem(expected).borrow());
        }
        received.advance(&Antichain::new());
        received.advance(&Antichain::from_elem(7));
        assert!(received.frontier().is_empty(), "a closed input stays closed");
    }
}
