//! The partners that rows are joined to, and the rows that name each.

use std::hash::Hash;

use crate::exchange::LocalHash;
use differential_dataflow::consolidation::consolidate;
use hashbrown::HashMap;

use crate::latest::{PARTS, Slot};

/// Rows by key, of which each key has one at most.
pub(crate) struct Dimension<J, P>(HashMap<J, P, LocalHash>);

impl<J, P> Default for Dimension<J, P> {
    fn default() -> Self {
        Dimension(HashMap::default())
    }
}

impl<J: Ord + Hash + Clone, P: Ord> Dimension<J, P> {
    pub(crate) fn get(&self, key: Option<&J>) -> Option<&P> {
        self.0.get(key?)
    }

    /// Applies an epoch's updates; gives the keys that changed, each with the partner it had.
    pub(crate) fn apply(&mut self, mut updates: Vec<((J, P), isize)>) -> HashMap<J, Option<P>, LocalHash> {
        consolidate(&mut updates);
        let mut changed = HashMap::default();
        let (put, taken): (Vec<_>, Vec<_>) = updates.into_iter().partition(|(_, diff)| *diff > 0);
        for ((key, partner), _) in taken {
            let before = self.0.remove(&key);
            debug_assert!(
                before == Some(partner),
                "a partner goes that is there, and there is one at most under a key"
            );
            changed.insert(key, before);
        }
        for ((key, partner), _) in put {
            let before = self.0.insert(key.clone(), partner);
            debug_assert!(before.is_none(), "there is one partner at most under a key");
            changed.entry(key).or_insert(before);
        }
        changed
    }
}

/// The slots of the rows that name each partner, as doubly linked lists.
pub(super) struct Chains<J> {
    first: HashMap<J, Slot, LocalHash>,
    /// By part and slot.
    links: Vec<Vec<Link>>,
}

#[derive(Clone, Copy)]
struct Link {
    before: Slot,
    after: Slot,
}

impl<J> Default for Chains<J> {
    fn default() -> Self {
        Chains { first: HashMap::default(), links: (0..PARTS).map(|_| Vec::new()).collect() }
    }
}

impl<J: Eq + Hash> Chains<J> {
    fn link(&mut self, slot: Slot) -> Option<&mut Link> {
        self.links[slot.part()].get_mut(slot.at())
    }

    pub(super) fn add(&mut self, partner: J, slot: Slot) {
        let after = self.first.insert(partner, slot).unwrap_or(Slot::NONE);
        let (links, at) = (&mut self.links[slot.part()], slot.at());
        if links.len() <= at {
            if links.capacity() <= at {
                links.reserve_exact((at + 1 - links.len()).max(links.len() / 8));
            }
            links.resize(at + 1, Link { before: Slot::NONE, after: Slot::NONE });
        }
        links[at] = Link { before: Slot::NONE, after };
        if let Some(next) = self.link(after) {
            next.before = slot;
        }
    }

    pub(super) fn remove(&mut self, partner: &J, slot: Slot) {
        let Some(Link { before, after }) = self.link(slot).copied() else { return };
        if let Some(next) = self.link(after) {
            next.before = before;
        }
        if let Some(previous) = self.link(before) {
            previous.after = after;
        } else if after == Slot::NONE {
            self.first.remove(partner);
        } else if let Some(first) = self.first.get_mut(partner) {
            *first = after;
        }
    }

    pub(super) fn of(&self, partner: &J) -> impl Iterator<Item = Slot> {
        let next = |slot: &Slot| Some(self.links[slot.part()].get(slot.at())?.after);
        std::iter::successors(self.first.get(partner).copied(), next).take_while(|slot| *slot != Slot::NONE)
    }
}
