//! A list in chunks of one size: growing never moves elements, and what a list frees another takes, whatever it is of.

/// A list that only grows.
pub(crate) struct ChunkedVec<E> {
    chunks: Vec<Vec<E>>,
}

/// The bytes of a chunk, at most.
const CHUNK: usize = 1 << 12;

impl<E> Default for ChunkedVec<E> {
    fn default() -> Self {
        ChunkedVec { chunks: Vec::new() }
    }
}

impl<E> ChunkedVec<E> {
    /// The elements of a chunk.
    const LENGTH: usize = match size_of::<E>() {
        0 => CHUNK,
        size if size < CHUNK => CHUNK / size,
        _ => 1,
    };

    #[inline]
    pub(crate) fn push(&mut self, element: E) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < Self::LENGTH => chunk.push(element),
            // The first chunk grows step by step: most lists are short.
            None => self.chunks.push(vec![element]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(Self::LENGTH);
                chunk.push(element);
                self.chunks.push(chunk);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * Self::LENGTH + last.len())
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
