//! A pile: things kept in the order they came, in chunks that do not move when there are more.

/// Things in chunks of a size that allocators recycle at once.
pub(crate) struct Pile<E> {
    chunks: Vec<Vec<E>>,
}

/// How many things a chunk has.
const CHUNK: usize = 64;

impl<E> Default for Pile<E> {
    fn default() -> Self {
        Pile { chunks: Vec::new() }
    }
}

impl<E> Pile<E> {
    pub(crate) fn push(&mut self, element: E) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(element),
            // The first chunk grows as it must, for most piles are small.
            None => self.chunks.push(vec![element]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(element);
                self.chunks.push(chunk);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &E> {
        self.chunks.iter().flatten()
    }
}

impl<E> IntoIterator for Pile<E> {
    type Item = E;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<E>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter().flatten()
    }
}
