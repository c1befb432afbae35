//! What arrived of epochs that are not complete, held until the frontier passes them.
//!
//! Each epoch has a buffer and a capability for its time. Epochs are released in order, once no input may still bring
//! updates of them. Messages with an empty stamp are dropped: they make no claim to any time, so nothing may be sent
//! for them.

use std::collections::BTreeMap;

use timely::dataflow::operators::{Capability, InputCapability};
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use timely::progress::frontier::MutableAntichain;

/// Buffers of epochs, with capabilities of the first output.
pub(crate) struct Stash<T: Timestamp, B> {
    epochs: BTreeMap<T, (Capability<T>, B)>,
    /// The epoch that is open; see [`open`](Stash::open).
    open: Option<T>,
}

/// Where the content of a message goes.
pub(crate) enum Accepted<'a, B> {
    /// Its epoch is open.
    Open,
    /// Into the buffer of its epoch.
    Held(&'a mut B),
}

impl<T: Timestamp, B> Default for Stash<T, B> {
    fn default() -> Self {
        Stash { epochs: BTreeMap::new(), open: None }
    }
}

impl<T: Timestamp + TotalOrder, B: Default> Stash<T, B> {
    /// Accepts a message whose content belongs to the time of the message. `None` if it has none and is to be dropped.
    pub(crate) fn accept(&mut self, message: &InputCapability<T>) -> Option<Accepted<'_, B>> {
        let time = message.least()?;
        if self.open.as_ref() == Some(time) {
            return Some(Accepted::Open);
        }
        Some(Accepted::Held(self.buffer(message, time)))
    }

    /// Accepts updates, each of which belongs to its own time. `add` puts one into the buffer of its epoch.
    pub(crate) fn accept_updates<D, R>(
        &mut self,
        message: &InputCapability<T>,
        updates: impl Iterator<Item = (D, T, R)>,
        mut add: impl FnMut(&mut B, D, R),
    ) {
        if message.stamp().is_empty() {
            return;
        }
        for (record, time, diff) in updates {
            add(self.buffer(message, &time), record, diff);
        }
    }

    fn buffer(&mut self, message: &InputCapability<T>, time: &T) -> &mut B {
        let new = || (message.delayed(time, 0), B::default());
        &mut self.epochs.entry(time.clone()).or_insert_with(new).1
    }

    /// The first time that has a buffer.
    pub(crate) fn first_time(&self) -> Option<&T> {
        self.epochs.keys().next()
    }

    /// Opens the first epoch, if no earlier one can begin any more, and returns its buffer. Messages of an open epoch
    /// need not be buffered: what they bring may be applied at once.
    pub(crate) fn open(&mut self, frontiers: &[&MutableAntichain<T>]) -> Option<&mut B> {
        let first = self.epochs.first_entry()?;
        if frontiers.iter().any(|frontier| frontier.less_than(first.key())) {
            return None;
        }
        if self.open.as_ref() != Some(first.key()) {
            self.open = Some(first.key().clone());
        }
        Some(&mut first.into_mut().1)
    }

    /// Releases the first epoch, if no input may still bring updates of it.
    pub(crate) fn next_complete(&mut self, frontiers: &[&MutableAntichain<T>]) -> Option<(Capability<T>, B)> {
        let first = self.epochs.first_entry()?;
        if frontiers.iter().any(|frontier| frontier.less_equal(first.key())) {
            return None;
        }
        self.open = None;
        Some(first.remove())
    }

    /// True if nothing is held and nothing can arrive any more, so that no state is needed either.
    pub(crate) fn is_closed(&self, frontiers: &[&MutableAntichain<T>]) -> bool {
        self.epochs.is_empty() && frontiers.iter().all(|frontier| frontier.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use timely::dataflow::StreamVec;
    use timely::dataflow::channels::pact::Pipeline;
    use timely::dataflow::operators::CapabilitySet;
    use timely::dataflow::operators::generic::Operator;
    use timely::dataflow::operators::vec::Input;

    use super::*;

    /// The numbers; a nine is sent in a message with an empty stamp.
    fn without_time_if_nine(numbers: StreamVec<'_, u64, u8>) -> StreamVec<'_, u64, u8> {
        numbers.unary(Pipeline, "Nines", |_, _| {
            |input, output| {
                input.for_each(|message, numbers| {
                    for number in numbers.drain(..) {
                        let stamp = if number == 9 { CapabilitySet::new() } else { message.retain_stamp(0) };
                        output.session(&stamp).give(number);
                    }
                });
            }
        })
    }

    /// What an operator with a stash notes at each call, for steps of two inputs: numbers to send on the first, and the
    /// epochs of both after that, `None` to close.
    fn run(steps: Vec<(Vec<u8>, Option<u64>, Option<u64>)>) -> Vec<Vec<String>> {
        timely::execute_directly(move |worker| {
            let notes = Rc::new(RefCell::new(Vec::new()));
            let kept = Rc::clone(&notes);
            let (first, second) = worker.dataflow::<u64, _, _>(|scope| {
                let (first, numbers) = scope.new_input::<u8>();
                let (second, others) = scope.new_input::<u8>();
                let numbers = without_time_if_nine(numbers);
                let _: StreamVec<'_, u64, u8> = numbers.binary_frontier(others, Pipeline, Pipeline, "Stash", |_, _| {
                    let mut stash: Stash<u64, Vec<u8>> = Stash::default();
                    move |(numbers, frontier0), (_, frontier1), output| {
                        let (frontiers, note) = ([frontier0, frontier1], |text| kept.borrow_mut().push(text));
                        numbers.for_each(|message, numbers| match stash.accept(&message) {
                            Some(Accepted::Open) => note(format!("{numbers:?} into the open epoch")),
                            Some(Accepted::Held(buffer)) => buffer.append(numbers),
                            None => note(format!("{numbers:?} dropped")),
                        });
                        loop {
                            if let Some(buffer) = stash.open(&frontiers).filter(|buffer| !buffer.is_empty()) {
                                note(format!("{:?} when opened", std::mem::take(buffer)));
                            }
                            let Some((epoch, buffer)) = stash.next_complete(&frontiers) else { break };
                            output.session(&epoch).give(0_u8);
                            note(format!("epoch {} with {buffer:?}", epoch.time()));
                        }
                        if stash.is_closed(&frontiers) {
                            note("closed".to_owned());
                        }
                    }
                });
                (first, second)
            });
            let (mut first, mut second) = (Some(first), Some(second));
            let step = |(numbers, first_epoch, second_epoch): (Vec<u8>, Option<u64>, Option<u64>)| {
                for number in numbers {
                    first.as_mut().expect("open").send(number);
                }
                first.iter_mut().for_each(|first| first.flush());
                first = first_epoch.and_then(|epoch| first.take().map(|mut first| (first.advance_to(epoch), first).1));
                second =
                    second_epoch.and_then(|epoch| second.take().map(|mut second| (second.advance_to(epoch), second).1));
                (0..5).for_each(|_| {
                    worker.step();
                });
                notes.take()
            };
            steps.into_iter().map(step).collect()
        })
    }

    #[test]
    fn an_epoch_is_complete_when_all_frontiers_have_passed_it() {
        let notes = run(vec![
            (vec![1], Some(1), Some(0)),
            (vec![2], Some(2), Some(1)),
            (vec![], Some(2), Some(5)),
            (vec![], None, None),
        ]);
        let [first, second, third, last] = &notes[..] else { panic!("four steps") };
        assert_eq!(first, &["[1] when opened"]);
        assert_eq!(second, &["epoch 0 with []", "[2] when opened"]);
        assert_eq!(third, &["epoch 1 with []"]);
        assert_eq!(last.last().map(String::as_str), Some("closed"));
    }

    #[test]
    fn an_epoch_waits_while_an_earlier_one_may_begin_and_is_open_afterwards() {
        let notes = run(vec![
            (vec![], Some(3), Some(0)),
            (vec![1], Some(3), Some(1)),
            (vec![], Some(3), Some(3)),
            (vec![2], Some(3), Some(3)),
            (vec![], Some(4), Some(4)),
        ]);
        assert_eq!(notes[..2], [vec![], vec![]] as [Vec<String>; 2]);
        assert_eq!(notes[2], ["[1] when opened"]);
        assert_eq!(notes[3], ["[2] into the open epoch"]);
        assert_eq!(notes[4], ["epoch 3 with []"]);
    }

    #[test]
    fn a_message_with_an_empty_stamp_is_dropped() {
        let notes = run(vec![(vec![9], Some(0), Some(0)), (vec![1, 9], Some(1), Some(1))]);
        assert_eq!(notes[0], ["[9] dropped"]);
        assert_eq!(notes[1], ["[9] dropped", "[1] when opened", "epoch 0 with []"]);
    }
}
