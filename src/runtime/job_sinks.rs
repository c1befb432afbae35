//! The sinks of a job.

use crate::error::{Error, Result};
use crate::sinks::Sink;

/// The sinks of a job, each of which is ended exactly once.
#[derive(Default)]
pub(crate) struct JobSinks(Vec<Box<dyn Sink>>);

impl JobSinks {
    pub(crate) fn new(sinks: Vec<Box<dyn Sink>>) -> JobSinks {
        JobSinks(sinks)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Sink>> {
        self.0.iter_mut()
    }

    /// Reports the outcome of the job to all sinks, and returns it.
    pub(super) fn end<R>(&mut self, outcome: Result<R>) -> Result<R> {
        let (outcome, returned) = match outcome {
            Ok(done) => (Ok(()), Ok(done)),
            Err(error) => (Err(error.clone()), Err(error)),
        };
        self.0.drain(..).for_each(|mut sink| sink.end(&outcome));
        returned
    }
}

/// Ends the sinks of a job that did not start, or that panicked.
impl Drop for JobSinks {
    fn drop(&mut self) {
        let _ = self.end(Err::<(), _>(Error::failed("the job did not start, or panicked")));
    }
}
