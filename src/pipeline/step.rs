//! A step of a job that is built when it is first used.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// A collection or arrangement that is built when it is first used, and then shared.
pub(super) struct Step<'scope, C>(Rc<Lazy<'scope, C>>);

struct Lazy<'scope, C> {
    built: OnceCell<C>,
    build: Cell<Option<Box<dyn FnOnce() -> C + 'scope>>>,
}

impl<'scope, C: Clone + 'scope> Step<'scope, C> {
    pub(super) fn new(build: impl FnOnce() -> C + 'scope) -> Self {
        let build = Cell::new(Some(Box::new(build) as Box<_>));
        Step(Rc::new(Lazy { built: OnceCell::new(), build }))
    }

    /// Builds the step, unless it is built.
    pub(super) fn get(&self) -> C {
        let build = || self.0.build.take().expect("no step depends on itself")();
        self.0.built.get_or_init(build).clone()
    }

    /// The step, if it is built.
    pub(super) fn built(&self) -> Option<C> {
        self.0.built.get().cloned()
    }

    /// How the next step is built from this one.
    pub(super) fn then<D>(&self, next: impl FnOnce(C) -> D + 'scope) -> impl FnOnce() -> D + 'scope {
        let step = Step(Rc::clone(&self.0));
        move || next(step.get())
    }
}
