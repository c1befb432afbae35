//! What each operator of a dataflow does and keeps, from timely's log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

use crate::operators::{STATE_LOG, StateEventBuilder};

/// What the operators of a dataflow do and keep, over all workers.
#[derive(Debug, Default)]
pub(crate) struct OperatorLog(Mutex<Dataflow>);

#[derive(Debug, Default)]
struct Dataflow {
    /// By number, which is the same on each worker.
    operators: BTreeMap<usize, OperatorSum>,
    /// From one operator to another.
    edges: BTreeSet<(usize, usize)>,
}

#[derive(Debug, Default)]
struct OperatorSum {
    name: String,
    busy: Duration,
    runs: u64,
    sent: u64,
    /// The records and bytes that each worker keeps.
    state: BTreeMap<usize, (usize, usize)>,
}

/// What an operator of a dataflow does and keeps, on all workers.
#[derive(Clone, Debug)]
pub struct OperatorReport {
    /// Its number.
    pub id: usize,
    /// Its name.
    pub name: String,
    /// The time that workers have spent in it.
    pub busy: Duration,
    /// How often workers have run it.
    pub runs: u64,
    /// The records that it has sent.
    pub sent: u64,
    /// The records that it keeps.
    pub records: u64,
    /// About how many bytes these take, without what they refer to.
    pub bytes: u64,
    /// The names of the operators to which it sends.
    pub to: Vec<String>,
}

/// The events of a worker since they were last added up.
#[derive(Default)]
struct WorkerEvents {
    /// The numbers of operators by their address in the dataflow.
    places: HashMap<Vec<usize>, usize>,
    /// Channels whose operators are not both known yet: number, sender and receiver.
    unknown: Vec<(usize, Vec<usize>, Vec<usize>)>,
    /// The operator that sends into each channel.
    senders: HashMap<usize, usize>,
    /// The running operators, and the time since which the innermost one has been running.
    running: Vec<usize>,
    since: Duration,
    new: Dataflow,
}

impl OperatorLog {
    /// Follows a worker. Must be called before the worker builds dataflows.
    pub(crate) fn follow(self: &Arc<Self>, worker: &Worker) {
        let Some(mut registry) = worker.log_register() else { return };
        let (log, mut of_worker, index) = (Arc::clone(self), WorkerEvents::default(), worker.index());
        registry.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
            let Some(events) = events else { return };
            events.iter().for_each(|(at, event)| of_worker.take(*at, event));
            log.add(std::mem::take(&mut of_worker.new));
        });
        let log = Arc::clone(self);
        registry.insert::<StateEventBuilder, _>(STATE_LOG, move |_, events| {
            for (_, event) in events.iter().flatten() {
                let mut dataflow = log.lock();
                let operator = dataflow.operators.entry(event.operator).or_default();
                operator.state.insert(index, (event.records, event.bytes));
            }
        });
    }

    fn add(&self, new: Dataflow) {
        let mut dataflow = self.lock();
        dataflow.edges.extend(new.edges);
        for (id, new) in new.operators {
            let known = dataflow.operators.entry(id).or_default();
            if known.name.is_empty() {
                known.name = new.name;
            }
            (known.busy, known.runs, known.sent) =
                (known.busy + new.busy, known.runs + new.runs, known.sent + new.sent);
        }
    }

    /// The operators, in the order in which they were built.
    pub(crate) fn reports(&self) -> Vec<OperatorReport> {
        let dataflow = self.lock();
        let report = |(id, sum): (&usize, &OperatorSum)| {
            let targets = dataflow.edges.range((*id, 0)..=(*id, usize::MAX));
            let name = |(_, target): &(usize, usize)| Some(dataflow.operators.get(target)?.name.clone());
            let kept = |of: fn(&(usize, usize)) -> usize| sum.state.values().map(of).sum::<usize>() as u64;
            OperatorReport {
                id: *id,
                name: sum.name.clone(),
                busy: sum.busy,
                runs: sum.runs,
                sent: sum.sent,
                records: kept(|(records, _)| *records),
                bytes: kept(|(_, bytes)| *bytes),
                to: targets.filter_map(name).collect(),
            }
        };
        dataflow.operators.iter().map(report).collect()
    }

    /// The time spent in operators of each name.
    pub(super) fn busy(&self) -> BTreeMap<String, Duration> {
        let mut busy = BTreeMap::<String, Duration>::new();
        for sum in self.lock().operators.values() {
            *busy.entry(sum.name.clone()).or_default() += sum.busy;
        }
        busy
    }

    fn lock(&self) -> MutexGuard<'_, Dataflow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkerEvents {
    fn take(&mut self, at: Duration, event: &TimelyEvent) {
        match event {
            TimelyEvent::Operates(operator) => {
                self.places.insert(operator.addr.clone(), operator.id);
                self.operator(operator.id).name.clone_from(&operator.name);
            }
            TimelyEvent::Channels(channel) => {
                let place = |index: usize| [&channel.scope_addr[..], &[index]].concat();
                self.unknown.push((channel.id, place(channel.source.0), place(channel.target.0)));
            }
            TimelyEvent::Messages(message) if message.is_send => {
                // Channels are there before the operators that read them, and messages only after both.
                if !self.unknown.is_empty() {
                    self.find_operators();
                }
                if let Some(sender) = self.senders.get(&message.channel).copied() {
                    self.operator(sender).sent += u64::try_from(message.record_count).unwrap_or(0);
                }
            }
            TimelyEvent::Schedule(schedule) => {
                if let Some(innermost) = self.running.last().copied() {
                    let busy = at.saturating_sub(self.since);
                    self.operator(innermost).busy += busy;
                }
                self.since = at;
                match schedule.start_stop {
                    StartStop::Start => {
                        self.running.push(schedule.id);
                        self.operator(schedule.id).runs += 1;
                    }
                    StartStop::Stop => drop(self.running.pop()),
                }
            }
            _ => {}
        }
    }

    /// Finds the operators of channels.
    fn find_operators(&mut self) {
        self.unknown.retain(|(channel, from, to)| {
            let (Some(from), Some(to)) = (self.places.get(from), self.places.get(to)) else { return true };
            self.senders.insert(*channel, *from);
            self.new.edges.insert((*from, *to));
            false
        });
    }

    fn operator(&mut self, id: usize) -> &mut OperatorSum {
        self.new.operators.entry(id).or_default()
    }
}
