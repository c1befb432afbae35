//! Points at which a test kills the process.
//!
//! Each step of a commit has one. In debug builds, a process that reaches the point named by the environment variable
//! `MILLSTREAM_CRASH_AT` dies there, without running destructors. In release builds, points do nothing.

/// Dies here if a test asks for it.
pub(crate) fn point(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var_os("MILLSTREAM_CRASH_AT").is_some_and(|wanted| wanted == name) {
        std::process::abort();
    }
    let _ = name;
}
