//! Panics of user functions: caught, with where they happened, and not printed row after row.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use compact_str::format_compact;

use crate::model::Text;

use super::Failure;

thread_local! {
    /// True while this thread calls a user function.
    static IS_CALLING: Cell<bool> = const { Cell::new(false) };
    /// What the last panic of a user function said.
    static MESSAGE: RefCell<Option<Text>> = const { RefCell::new(None) };
}

/// Calls a user function; a panic is its failure.
///
/// A function is taken to be pure, so that what it leaves behind when it panics is of no interest to a later call.
pub(super) fn caught<R>(function: impl FnOnce() -> R) -> Result<R, Failure> {
    listen();
    let was_calling = IS_CALLING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(function));
    IS_CALLING.set(was_calling);
    result.map_err(|_| Failure { reason: MESSAGE.take().unwrap_or_else(|| "it panicked".into()), panicked: true })
}

/// Has panics of user functions kept as their reason, where others go on to the hook that is there.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_CALLING.get() {
                return others(info);
            }
            let message = info.payload().downcast_ref::<&str>().copied();
            let message = message.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
            let message = message.unwrap_or("without a message");
            let place = info.location().map_or(Text::default(), |place| format_compact!(" at {place}"));
            MESSAGE.set(Some(format_compact!("panicked{place}: {message}")));
        }));
    });
}
