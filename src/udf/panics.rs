//! Panics of user functions, caught with their location and not printed.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use compact_str::format_compact;

use crate::model::Text;

use super::failure::RowFailure;

thread_local! {
    /// True while this thread calls a user function.
    static IS_CALLING: Cell<bool> = const { Cell::new(false) };
    /// The message of the last panic of a user function.
    static MESSAGE: RefCell<Option<Text>> = const { RefCell::new(None) };
}

/// Calls a user function, converting a panic to a failure.
///
/// Functions are assumed to be pure, so state left behind by a panic does not affect later calls.
pub(super) fn caught<R>(function: impl FnOnce() -> R) -> Result<R, RowFailure> {
    install_hook();
    let was_calling = IS_CALLING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(function));
    IS_CALLING.set(was_calling);
    result.map_err(|_| RowFailure { reason: MESSAGE.take().unwrap_or_else(|| "panicked".into()), panicked: true })
}

/// Installs a hook that records panics of user functions and passes all others to the previous hook.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_CALLING.get() {
                return previous(info);
            }
            let message = info.payload().downcast_ref::<&str>().copied();
            let message = message.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
            let message = message.unwrap_or("without a message");
            let place = info.location().map_or(Text::default(), |place| format_compact!(" at {place}"));
            MESSAGE.set(Some(format_compact!("panicked{place}: {message}")));
        }));
    });
}
