//! For each partner, the slots of the rows that name it.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::exchange::LocalHash;
use crate::read_ahead::read_ahead;
use crate::upsert_table::{PARTS, Slot};

/// The slots of the rows that name each partner, as doubly linked lists.
pub(crate) struct SlotChains<J> {
    first: HashMap<J, Slot, LocalHash>,
    /// By part and slot.
    links: Vec<Vec<SlotLink>>,
}

#[derive(Clone, Copy)]
struct SlotLink {
    before: Slot,
    after: Slot,
}

impl<J> Default for SlotChains<J> {
    fn default() -> Self {
        SlotChains { first: HashMap::default(), links: (0..PARTS).map(|_| Vec::new()).collect() }
    }
}

impl<J: Eq + Hash> SlotChains<J> {
    fn link(&mut self, slot: Slot) -> Option<&mut SlotLink> {
        self.links[slot.part()].get_mut(slot.at())
    }

    /// The memory of the chains.
    pub(crate) fn bytes(&self) -> usize {
        let links: usize = self.links.iter().map(Vec::capacity).sum();
        links * size_of::<SlotLink>() + self.first.allocation_size()
    }

    /// Reads the first link of each partner's chain, which [`add`](Self::add) changes.
    pub(crate) fn read_ahead<'a>(&self, partners: impl Iterator<Item = &'a J>)
    where
        J: 'a,
    {
        read_ahead(partners.map(|partner| {
            let first = self.first.get(partner)?;
            Some(self.links[first.part()].get(first.at())?.before == Slot::NONE)
        }));
    }

    /// Puts a slot before the others of a partner.
    pub(crate) fn add(&mut self, partner: J, slot: Slot) {
        let after = self.first.insert(partner, slot).unwrap_or(Slot::NONE);
        let (links, at) = (&mut self.links[slot.part()], slot.at());
        if links.len() <= at {
            if links.capacity() <= at {
                links.reserve_exact((at + 1 - links.len()).max(links.len() / 8));
            }
            links.resize(at + 1, SlotLink { before: Slot::NONE, after: Slot::NONE });
        }
        links[at] = SlotLink { before: Slot::NONE, after };
        if let Some(next) = self.link(after) {
            next.before = slot;
        }
    }

    pub(crate) fn remove(&mut self, partner: &J, slot: Slot) {
        let Some(SlotLink { before, after }) = self.link(slot).copied() else { return };
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

    pub(crate) fn of(&self, partner: &J) -> impl Iterator<Item = Slot> {
        let next = |slot: &Slot| Some(self.links[slot.part()].get(slot.at())?.after);
        std::iter::successors(self.first.get(partner).copied(), next).take_while(|slot| *slot != Slot::NONE)
    }
}
