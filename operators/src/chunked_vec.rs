//! A list in chunks of 64 elements: growing never moves elements, and allocators reuse chunks of one size.

/// A list that only grows.
pub(crate) struct ChunkedVec<E> {
    chunks: Vec<Vec<E>>,
}

/// The elements of a chunk.
const CHUNK: usize = 64;

impl<E> Default for ChunkedVec<E> {
    fn default() -> Self {
        ChunkedVec { chunks: Vec::new() }
    }
}

impl<E> ChunkedVec<E> {
    #[inline]
    pub(crate) fn push(&mut self, element: E) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(element),
            // The first chunk grows step by step: most lists are short.
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

impl<E> IntoIterator for ChunkedVec<E> {
    type Item = E;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<E>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter().flatten()
    }
}
