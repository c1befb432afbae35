//! The operator in which all tables end, and which passes their batches to the sinks.
//!
//! Each table has inputs of its own there. An epoch is complete when it is complete at all of them, so a single place
//! knows which epochs are, and a live job has few operators to notify.
//!
//! A table is wanted while a sink takes its rows, or while a sink takes `rejected` and the table has functions. Epochs
//! of a table that are not wanted are neither encoded nor given to functions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use differential_dataflow::{AsCollection, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::{Activator, SyncActivator};

use crate::error::Result;
use crate::model::{Epoch, IntId, Rejection};
use crate::operators::WaveGate;
use crate::pipeline::{Job, least};
use crate::sinks::RowChanges;
use crate::tables::{EndContext, EndOfTable, JobId, Left, RejectedTable, TableEnd, Turn, Wanted, rows_end};

use super::context::{PartOfSink, RunContext, TableParts};
use super::profile::{REJECTED_ROWS, TABLES};

type RejectionUpdate = (Rejection, Epoch, isize);

/// The ends of all tables on one worker.
pub(super) struct Ends<'scope> {
    context: Arc<RunContext>,
    scope: Scope<'scope, Epoch>,
    /// Paces the waves, if the first epoch is split into waves.
    gate: Option<WaveGate<Epoch>>,
    ends: Vec<NamedEnd<'scope>>,
    /// The parts of the tables that are not ended yet.
    parts: std::vec::IntoIter<TableParts>,
    /// The number of tables that are ended.
    ended: usize,
}

struct NamedEnd<'scope> {
    name: String,
    end: TableEnd<'scope>,
    parts: Vec<PartOfSink>,
}

impl<'scope> Ends<'scope> {
    pub(super) fn new(context: &Arc<RunContext>, scope: Scope<'scope, Epoch>, gate: Option<WaveGate<Epoch>>) -> Self {
        let parts = context.take_parts(scope.index() % context.workers());
        Ends { context: Arc::clone(context), scope, gate, ends: Vec::new(), parts: parts.into_iter(), ended: 0 }
    }

    /// Ends all tables of the job.
    pub(super) fn add_tables<I: JobId>(&mut self, job: &Job<'scope, Epoch, I>) {
        for table in self.context.tables.clone().iter() {
            self.add(|context| I::end(Arc::clone(table), job, context));
        }
    }

    /// Ends the next table of the catalog, or `rejected` after the last.
    fn add(&mut self, end: impl FnOnce(&EndContext) -> TableEnd<'scope>) {
        let TableParts { parts, together } = self.parts.next().unwrap_or_default();
        let (name, schema) = self.context.table(self.ended);
        let context = EndContext {
            layout: Arc::clone(&self.context.layout),
            schema: Arc::clone(schema),
            is_wanted: wanted(&self.context, name, &parts, Turn::default()).is_some(),
            together,
            stays: self.context.stays,
            is_in_waves: self.gate.is_some(),
            lookups: self.context.lookups.clone().map(|queues| (queues, self.scope.index())),
        };
        self.ends.push(NamedEnd { name: name.to_owned(), end: end(&context), parts });
        self.ended += 1;
    }

    /// Ends the rejected rows, and builds the operators. `rejected` are those of the sources; `None` if no sink takes
    /// rejected rows.
    pub(super) fn build(mut self, rejected: Option<VecCollection<'scope, Epoch, Rejection>>) {
        let Some(rejected) = rejected else {
            return drop(operator(&self.context, self.scope, TABLES, self.ends, self.gate, true));
        };
        let end_of = |rows, context: &EndContext| rows_end::<_, IntId>(Arc::new(RejectedTable), rows, context);
        if self.context.derived.is_empty() {
            self.add(|context| end_of(rejected, context));
            return drop(operator(&self.context, self.scope, TABLES, self.ends, self.gate, true));
        }
        // Functions reject rows where tables end, so the rejected rows end after the tables.
        let tables = std::mem::take(&mut self.ends);
        let by_functions = operator(&self.context, self.scope, TABLES, tables, self.gate.clone(), false);
        let by_functions = by_functions.expect("only the last operator has no output");
        let rejected = rejected.concat(by_functions.as_collection());
        self.add(|context| end_of(rejected, context));
        operator(&self.context, self.scope, REJECTED_ROWS, self.ends, self.gate, true);
    }
}

/// An operator in which tables end, and the rows that functions reject there.
fn operator<'scope>(
    context: &Arc<RunContext>,
    scope: Scope<'scope, Epoch>,
    name: &str,
    ends: Vec<NamedEnd<'scope>>,
    gate: Option<WaveGate<Epoch>>,
    is_last: bool,
) -> Option<StreamVec<'scope, Epoch, RejectionUpdate>> {
    let mut builder = OperatorBuilder::new(name.into(), scope);
    let mut connected: Vec<ConnectedEnd> = Vec::new();
    for NamedEnd { name, end, parts } in ends {
        let before = builder.shape().inputs();
        let end = end.connect(&mut builder);
        let (inputs, stage) = (builder.shape().inputs() - before, format!("Write {name}"));
        connected.push(ConnectedEnd { name, stage, end, inputs, parts });
    }
    // An output costs a little in every epoch, so the last operator has none.
    let (mut output, rejected) = if is_last {
        (None, None)
    } else {
        let (output, rejected) = builder.new_output();
        (Some(OutputBuilder::<Epoch, CapacityContainerBuilder<Vec<RejectionUpdate>>>::from(output)), Some(rejected))
    };
    let (address, worker) = (builder.operator_info().address, scope.index() % context.workers());
    if name == TABLES {
        context.set_bell(worker, SyncActivator::new(address.to_vec(), scope.activations().borrow().sync()));
    }
    let activator = Activator::new(address, scope.activations());
    let (context, turns) = (Arc::clone(context), Turns::default());
    let has_tables = name == TABLES;
    let mut ends = AllEnds { context, ends: connected, worker, gate, is_last, has_tables, turns, open: 0 };
    builder.build_reschedule(move |mut capabilities| {
        let mut capability = capabilities.pop();
        move |frontiers| {
            let (left, rejections) = ends.advance(frontiers);
            if let (Some(held), Some(output)) = (&mut capability, &mut output) {
                if !rejections.is_empty() {
                    let mut output = output.activate();
                    for update in rejections {
                        output.session(&held.delayed(&update.1)).give(update);
                    }
                }
                match ends.open {
                    Epoch::MAX => capability = None,
                    epoch => held.downgrade(&epoch),
                }
            }
            match left {
                Left::Nothing => {}
                Left::Lookups | Left::Gathered if !ends.turns.is_free => {
                    if ends.turns.must_wait() {
                        activator.activate_after(TURN);
                    }
                }
                Left::Lookups | Left::Gathered | Left::Epochs => activator.activate(),
            }
            left != Left::Nothing
        }
    });
    rejected
}

/// The tables that end in one operator.
struct AllEnds {
    context: Arc<RunContext>,
    ends: Vec<ConnectedEnd>,
    worker: usize,
    gate: Option<WaveGate<Epoch>>,
    is_last: bool,
    /// True in the operator of the tables. Rejected rows, which may end in another, are never late.
    has_tables: bool,
    turns: Turns,
    /// The first epoch that is not sealed.
    open: Epoch,
}

struct ConnectedEnd {
    name: String,
    /// Its name in the profile.
    stage: String,
    end: Box<dyn EndOfTable>,
    /// The number of its inputs among those of the operator.
    inputs: usize,
    parts: Vec<PartOfSink>,
}

impl AllEnds {
    /// Passes the batches of complete epochs to the sinks; returns what is left, and the rows that functions reject.
    fn advance(&mut self, frontiers: &[MutableAntichain<Epoch>]) -> (Left, Vec<RejectionUpdate>) {
        let (mut left, mut rejected, mut first) = (Left::Nothing, Vec::new(), 0);
        let asked = self.context.gathering.load(Ordering::Acquire);
        let turn = Turn { open: self.open, is_free: self.turns.begin(&self.context) };
        let started = Instant::now();
        for end in &mut self.ends {
            let own = &frontiers[first..first + end.inputs];
            first += end.inputs;
            match end.advance(&self.context, own, turn, self.gate.is_some(), &mut rejected) {
                Ok(of_end) => left = left.max(of_end),
                Err(error) => self.context.fail(error),
            }
        }
        let mut open = least(frontiers).first().copied().unwrap_or(Epoch::MAX);
        if let Some(gate) = &self.gate {
            if self.has_tables && left < Left::Epochs {
                gate.advance_to(open);
            }
            // All waves are of the first epoch, which ends with the input.
            open = if open < Epoch::MAX { 0 } else { open };
        }
        if left < Left::Epochs && open > self.open {
            self.seal(open);
        }
        self.turns.end(left, started.elapsed());
        if left <= Left::Lookups && self.has_tables && asked < self.open {
            self.context.gathered.set(self.worker, asked);
        }
        (left, rejected)
    }

    /// Seals the parts: all epochs before this one are complete.
    fn seal(&mut self, upper: Epoch) {
        if !self.context.has_failed() {
            for end in &mut self.ends {
                if let Err(error) = end.parts.iter_mut().try_for_each(|part| part.part.seal(upper)) {
                    self.context.fail(error);
                }
                let before = end.parts.len();
                end.parts.retain(|part| !part.part.is_finished());
                if end.name == RejectedTable::NAME {
                    self.context.finish_rejected(before - end.parts.len());
                }
            }
        }
        self.open = upper;
        if self.is_last {
            self.context.sealed.set(self.worker, upper);
        }
    }
}

/// How long gathering and look-ups wait for their next turn while an epoch is on its way.
const TURN: Duration = Duration::from_millis(1);

/// The share of its time that a worker spends on gathering and look-ups: all of it between epochs, and about half while
/// epochs are on their way.
#[derive(Default)]
struct Turns {
    /// Since when epochs have been on their way, and how much of the time since was spent.
    busy: Option<(Instant, Duration)>,
    is_free: bool,
    /// When the next turn is, if it is waited for.
    next: Option<Instant>,
}

impl Turns {
    /// True if there is time for a turn.
    fn begin(&mut self, context: &RunContext) -> bool {
        let begun = context.begun.load(Ordering::Acquire);
        if context.sealed.have_reached(begun + 1) {
            self.busy = None;
        } else {
            self.busy.get_or_insert_with(|| (Instant::now(), Duration::ZERO));
        }
        self.is_free = self.busy.is_none_or(|(since, spent)| 2 * spent <= since.elapsed());
        self.is_free
    }

    /// A turn has taken so long, after which this is left.
    fn end(&mut self, left: Left, took: Duration) {
        if let (Some((_, spent)), Left::Lookups | Left::Gathered, true) = (&mut self.busy, left, self.is_free) {
            *spent += took;
        }
    }

    /// True if nobody waits for the next turn yet.
    fn must_wait(&mut self) -> bool {
        let now = Instant::now();
        let is_waited_for = self.next.is_some_and(|next| next > now);
        if !is_waited_for {
            self.next = Some(now + TURN);
        }
        !is_waited_for
    }
}

impl ConnectedEnd {
    fn advance(
        &mut self,
        context: &RunContext,
        frontiers: &[MutableAntichain<Epoch>],
        turn: Turn,
        is_in_waves: bool,
        rejected: &mut Vec<RejectionUpdate>,
    ) -> Result<Left> {
        let ConnectedEnd { name, stage, end, parts, .. } = self;
        let started = context.profile.as_ref().map(|profile| (profile, Instant::now()));
        let wanted = wanted(context, name, parts, turn);
        let left = end.advance(frontiers, wanted, &mut |epoch, changes| {
            let epoch = if is_in_waves { 0 } else { epoch };
            if context.has_failed() {
                return Ok(());
            }
            let plus = with_derived(context, name, changes.plus, (epoch, 1), rejected)?;
            let minus = with_derived(context, name, changes.minus, (epoch, -1), rejected)?;
            if parts.is_empty() {
                return Ok(());
            }
            context.intake.progress().add_written(plus.as_ref().map_or(0, |rows| rows.num_rows() as u64));
            let changes = RowChanges { plus, minus, is_late: changes.is_late };
            let mut taking = parts.iter_mut().filter(|part| part.from <= epoch);
            taking.try_for_each(|part| part.part.write(epoch, &changes))
        });
        started.into_iter().for_each(|(profile, started)| profile.add(stage, started.elapsed()));
        left
    }
}

/// What sinks take of a table, or of the rows rejected by its functions.
fn wanted(context: &RunContext, table: &str, parts: &[PartOfSink], turn: Turn) -> Option<Wanted> {
    if context.derived.has(table) && context.takes_rejected() {
        return Some(Wanted { from: 0, gathering: None, dictionaries: false, turn });
    }
    let from = parts.iter().map(|part| part.from).min()?;
    let is_gathered = parts.iter().all(|part| part.gathered);
    let gathering = is_gathered.then(|| context.gathering.load(Ordering::Acquire));
    // They come in the first epoch, so sinks that take later ones only have no say.
    let takes_dictionaries = parts.iter().filter(|part| part.from == from).all(|part| part.dictionaries);
    let dictionaries = takes_dictionaries && !context.derived.has(table);
    Some(Wanted { from, gathering, dictionaries, turn })
}

/// Adds the columns computed by functions. Rows that a function can't handle are rejected.
fn with_derived(
    context: &RunContext,
    table: &str,
    rows: Option<RecordBatch>,
    (epoch, diff): (Epoch, isize),
    rejected: &mut Vec<RejectionUpdate>,
) -> Result<Option<RecordBatch>> {
    let Some(rows) = rows else { return Ok(None) };
    let made = context.derived.add(table, rows)?;
    if !made.rejected.is_empty() {
        context.rejections.add(epoch, &made.rejected, diff as i64)?;
        rejected.extend(made.rejected.into_iter().map(|row| (row, epoch, diff)));
    }
    Ok(Some(made.rows).filter(|rows| rows.num_rows() > 0))
}
