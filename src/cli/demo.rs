//! d
use std::path::Path;
use crate::error::Result;
pub(super) fn demo(_output: &Path, _scale: f64, _workers: Option<usize>) -> Result<()> { Ok(()) }
