//! Panics of code that is not ours, caught with their location and not printed.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use compact_str::format_compact;

use crate::model::Text;

thread_local! {
    /// True while this thread calls such code.
    static IS_CALLING: Cell<bool> = const { Cell::new(false) };
    /// The message of its last panic.
    static MESSAGE: RefCell<Option<Text>> = const { RefCell::new(None) };
}

/// Calls a function. If it panics, the result is its message.
///
/// State that it leaves behind must not be used any more.
pub(crate) fn caught<R>(function: impl FnOnce() -> R) -> Result<R, Text> {
    install_hook();
    let was_calling = IS_CALLING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(function));
    IS_CALLING.set(was_calling);
    result.map_err(|_| MESSAGE.take().unwrap_or_else(|| "panicked".into()))
}

/// Installs a hook that records these panics and passes all others to the previous hook.
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
