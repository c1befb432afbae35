//! Following an arrangement: each key that changed, with its values before and after.

use std::cell::{Cell, OnceCell};

use differential_dataflow::ExchangeData;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{Span, TraceReader};
use timely::communication::Pull;
use timely::dataflow::Scope;
use timely::dataflow::channels::Message;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::progress::frontier::MutableAntichain;

use crate::batch::{Batch, SortedBatch, advance};
use crate::bounds::Epochs;
use crate::received::Received;
use crate::replay::{Replay, Timeline};
use crate::state_log::StateLog;
use crate::values::{NovelValues, ValueRun, ValueSet, Values, WeightedValues, before_and_after};

/// The changes of one key.
pub(crate) struct KeyChange<'a, V, T> {
    earlier: Vec<ValueRun<'a, V, T>>,
    novel: Vec<ValueRun<'a, V, T>>,
    times: Vec<T>,
    /// The novel updates by time, where they have several.
    timeline: OnceCell<Timeline<'a, V>>,
    /// The values before and after, where they are few and change once.
    merged: OnceCell<[WeightedValues<'a, V>; 2]>,
    /// Empty vectors, to be reused by `merged`.
    spare: Cell<[WeightedValues<'a, V>; 2]>,
}

/// The most values that are merged as a whole, so that each reduction need not merge those that it reads. A test in
/// `groups_and_joins` has a key with one more.
const MERGED_MAX: usize = 256;

/// How many keys are shown at a time: few, so that their values mostly stay in the innermost cache until all reductions
/// have read them.
const KEYS_TOGETHER: usize = 8;

impl<'a, V: Ord, T: Epochs> KeyChange<'a, V, T> {
    fn new() -> Self {
        let (timeline, merged, spare) = Default::default();
        KeyChange { earlier: Vec::new(), novel: Vec::new(), times: Vec::new(), timeline, merged, spare }
    }

    fn clear(&mut self) {
        self.earlier.clear();
        self.novel.clear();
        self.times.clear();
        self.timeline.take();
        if let Some(mut merged) = self.merged.take() {
            merged.iter_mut().for_each(Vec::clear);
            self.spare.set(merged);
        }
    }

    /// Reads the earlier values if they are few, so that they are in the cache when they are reduced.
    fn read_ahead(&self) {
        if self.values() <= MERGED_MAX {
            self.earlier.iter().for_each(ValueRun::read_ahead);
        }
    }

    /// Collects the times of the novel updates.
    fn collect_times(&mut self) {
        for run in &self.novel {
            run.for_each_time(|time| {
                if self.times.last() != Some(time) {
                    self.times.push(time.clone());
                }
            });
        }
        self.times.sort();
        self.times.dedup();
    }

    /// True if the key had no values at all before.
    pub(crate) fn is_new(&self) -> bool {
        self.earlier.is_empty()
    }

    /// The only time at which something changed, if it is the only one.
    pub(crate) fn only_time(&self) -> Option<&T> {
        if let [time] = &self.times[..] { Some(time) } else { None }
    }

    /// Shows each update: the value, when, and by how much its weight changes.
    pub(crate) fn for_each_update(&self, mut show: impl FnMut(&'a V, &'a T, isize)) {
        self.novel.iter().for_each(|run| run.for_each_update(&mut show));
    }

    /// Shows the values before the change, each as often as it has updates.
    pub(crate) fn for_each_earlier(&self, mut show: impl FnMut(&'a V, isize)) {
        self.earlier.iter().for_each(|run| run.for_each_update(&mut |value, _, diff| show(value, diff)));
    }

    /// How many values there are in all batches, those that cancel among them.
    pub(crate) fn values(&self) -> usize {
        self.earlier.iter().chain(&self.novel).map(ValueRun::len).sum()
    }

    /// The values before and after the change, if they are few and it has one time. Not for a new key, whose values
    /// usually lie in one batch.
    fn merged(&self) -> Option<&[WeightedValues<'a, V>; 2]> {
        self.only_time()?;
        let is_merged = !self.is_new() && self.values() <= MERGED_MAX;
        let merge = || before_and_after(&self.earlier, &self.novel, self.spare.take());
        is_merged.then(|| self.merged.get_or_init(merge))
    }

    /// The change step by step, before the first.
    pub(crate) fn steps(&self) -> ChangeSteps<'_, 'a, V, T> {
        let replay = (self.times.len() > 1).then(|| {
            let index = |time: &T| self.times.partition_point(|other| other < time);
            Replay::new(self.timeline.get_or_init(|| {
                let mut updates = Vec::new();
                self.for_each_update(|value, time, diff| updates.push((value, index(time), diff)));
                Timeline::new(updates.into_iter())
            }))
        });
        ChangeSteps { change: self, taken: 0, replay }
    }
}

/// The steps of a change: one for each time at which something changed, ascending.
pub(crate) struct ChangeSteps<'b, 'a, V, T> {
    change: &'b KeyChange<'a, V, T>,
    taken: usize,
    replay: Option<Replay<'b, V>>,
}

impl<'b, V: Ord, T: Epochs> ChangeSteps<'b, '_, V, T> {
    /// The time of the next step.
    pub(crate) fn time(&self) -> Option<&'b T> {
        self.change.times.get(self.taken)
    }

    /// The updates of the next step: the value, and by how much its weight changes.
    pub(crate) fn for_each_update(&self, mut show: impl FnMut(&V, isize)) {
        match &self.replay {
            Some(replay) => replay.updates().for_each(|(value, diff)| show(value, diff)),
            None => self.change.for_each_update(|value, _, diff| show(value, diff)),
        }
    }

    /// Takes the next step.
    pub(crate) fn advance(&mut self) {
        self.replay.iter_mut().for_each(Replay::advance);
        self.taken += 1;
    }

    /// The values after the steps taken.
    pub(crate) fn values(&self) -> Values<'_, V, T> {
        if let Some(merged) = self.change.merged() {
            return Values(ValueSet::Merged(&merged[self.taken]));
        }
        let novel = match &self.replay {
            _ if self.taken == 0 => NovelValues::All(&[]),
            Some(replay) => NovelValues::Played(replay),
            None => NovelValues::All(&self.change.novel),
        };
        Values(ValueSet::Unmerged { earlier: &self.change.earlier, novel })
    }
}

/// The batches an operator has just received, beside those it had before.
pub(crate) struct NovelBatches<K: ExchangeData, V: ExchangeData, T: Epochs> {
    /// For each output of the operator, what it may send with.
    pub(crate) capabilities: Vec<CapabilitySet<T>>,
    earlier: Vec<Batch<K, V, T>>,
    novel: Vec<Batch<K, V, T>>,
}

impl<K: ExchangeData, V: ExchangeData, T: Epochs> NovelBatches<K, V, T> {
    /// Shows the keys that have an update, in order, a few at a time, each with what changed under it. The values of
    /// those shown together are read ahead.
    pub(crate) fn for_keys(&self, mut logic: impl FnMut(&[&K], &[KeyChange<'_, V, T>])) {
        let [mut earlier, mut novel] = [&self.earlier, &self.novel].map(|batches| start_of(batches));
        let mut changes: [_; KEYS_TOGETHER] = std::array::from_fn(|_| KeyChange::new());
        let mut keys = Vec::with_capacity(KEYS_TOGETHER);
        loop {
            keys.clear();
            for change in &mut changes {
                let next = novel.iter().filter_map(|(batch, position)| batch.keys().get(*position)).min();
                let Some(key) = next else { break };
                change.clear();
                collect_runs(&mut earlier, key, &mut change.earlier);
                collect_runs(&mut novel, key, &mut change.novel);
                change.collect_times();
                keys.push(key);
            }
            if keys.is_empty() {
                return;
            }
            let changes = &changes[..keys.len()];
            changes.iter().for_each(KeyChange::read_ahead);
            logic(&keys, changes);
        }
    }
}

/// Batches, each with the position of its next key.
type KeyPositions<'a, K, V, T> = Vec<(&'a Batch<K, V, T>, usize)>;

fn start_of<K: ExchangeData, V: ExchangeData, T: Epochs>(batches: &[Batch<K, V, T>]) -> KeyPositions<'_, K, V, T> {
    batches.iter().map(|batch| (batch, 0)).collect()
}

/// Collects the values of a key from the batches that have it, and passes it.
fn collect_runs<'a, K: ExchangeData, V: ExchangeData, T: Epochs>(
    batches: &mut KeyPositions<'a, K, V, T>,
    key: &K,
    runs: &mut Vec<ValueRun<'a, V, T>>,
) {
    for (batch, position) in batches {
        *position = advance(batch.keys(), *position, key);
        if batch.keys().get(*position) == Some(key) {
            let values = batch.range(*position);
            let start = values.start;
            runs.push(ValueRun::new(&batch.values()[values], start, &batch.storage.upds));
            *position += 1;
        }
    }
}

/// The memory of a batch, without what its rows refer to.
fn bytes_of<K: ExchangeData, V: ExchangeData, T: Epochs>(batch: &Batch<K, V, T>) -> usize {
    let updates = &batch.storage.upds;
    size_of_val(batch.keys())
        + size_of_val(batch.values())
        + size_of_val(&updates.times[..])
        + size_of_val(&updates.diffs[..])
        + size_of::<u32>() * (batch.keys().len() + batch.values().len())
}

/// Follows an arrangement: receives batches, finds what was there before, and lets the trace compact behind it.
pub(crate) struct TraceFollower<K: ExchangeData, V: ExchangeData, T: Epochs> {
    /// The operator's name.
    name: String,
    trace: Option<TraceAgent<ValSpine<K, V, T, isize>>>,
    received: Received<T>,
    /// Of the operator that arranges.
    state_log: StateLog,
}

impl<K: ExchangeData, V: ExchangeData, T: Epochs> TraceFollower<K, V, T> {
    pub(crate) fn new(name: &str, scope: &Scope<'_, T>, trace: TraceAgent<ValSpine<K, V, T, isize>>) -> Self {
        let state_log = StateLog::new(scope, trace.operator().global_id);
        TraceFollower { name: name.to_owned(), trace: Some(trace), received: Received::nothing(), state_log }
    }

    /// The batches that have arrived, for an operator with this many outputs; `None` if none has.
    pub(crate) fn receive<P: Pull<Message<T, Vec<Span<T, Batch<K, V, T>>>>>>(
        &mut self,
        input: &mut InputHandleCore<T, Vec<Span<T, Batch<K, V, T>>>, P>,
        outputs: usize,
    ) -> Option<NovelBatches<K, V, T>> {
        let mut capabilities = vec![CapabilitySet::new(); outputs];
        let mut novel = Vec::new();
        let received_before = self.received.frontier().to_owned();
        input.for_each(|capability, spans| {
            for (output, held) in capabilities.iter_mut().enumerate() {
                capability.retain_stamp(output).iter().for_each(|capability| held.insert(capability.clone()));
            }
            for span in spans.drain(..) {
                self.received.advance(span.upper());
                novel.extend(span.inner);
            }
        });
        if novel.is_empty() {
            return None;
        }
        let earlier = self.trace.as_mut().and_then(|trace| trace.batches_through(received_before.borrow()));
        let earlier = earlier.unwrap_or_else(|| {
            panic!("{:?}: the trace was dropped or compacted past what was received, {received_before:?}", self.name)
        });
        let all = || earlier.iter().chain(&novel);
        self.state_log.log(all().map(|batch| batch.update_count()).sum(), || all().map(bytes_of).sum());
        Some(NovelBatches { capabilities, earlier, novel })
    }

    /// Lets the trace compact up to what was received, and drops it when nothing more can arrive.
    pub(crate) fn release(&mut self, frontier: &MutableAntichain<T>) {
        if frontier.is_empty() {
            self.trace = None;
        } else if let Some(trace) = &mut self.trace {
            self.received.advance_through(trace, frontier.frontier());
            trace.set_logical_compaction(self.received.frontier());
            trace.set_physical_compaction(self.received.frontier());
        }
    }
}
