//! Epochs.

/// The number of a set of changes that all tables apply at once. Epoch 0 is what the source had when the job started.
pub type Epoch = u64;
