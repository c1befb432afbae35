//! The window functions of a window, as methods.

use std::marker::PhantomData;

/// The window functions, as methods; see the [module](mod@crate::window).
///
/// It carries the types of the window's order key and rows, so that the closures passed to its methods need no type
/// annotations.
pub struct Functions<O, D>(PhantomData<fn(&O, &D)>);

impl<O, D> Clone for Functions<O, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O, D> Copy for Functions<O, D> {}

impl<O, D> Functions<O, D> {
    pub(super) fn new() -> Self {
        Functions(PhantomData)
    }
}
