//! The partners that rows are joined to, and the rows that name each.

use std::hash::Hash;

use crate::exchange::LocalHash;
use hashbrown::HashMap;

use crate::latest::{PARTS, Slot};

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
