//! Folders of a service that are in object storage, and their copies below the state.

use std::path::{Path, PathBuf};

use crate::config::RunConfig;
use crate::error::{Error, Result};
#[cfg(feature = "s3")]
use crate::objects::ObjectFolder;
use crate::objects::is_url;

/// The URLs of folders that are in object storage.
#[derive(Clone, Debug, Default)]
pub struct RemoteFolders {
    pub(super) input: Option<PathBuf>,
    pub(super) incoming: Option<PathBuf>,
    pub(super) output: Option<PathBuf>,
}

impl RemoteFolders {
    /// Puts folders below the state in the place of those that are in object storage.
    ///
    /// # Errors
    ///
    /// If a URL is none, or this build can't reach them.
    pub(super) fn localize(
        run: &mut RunConfig,
        incoming: &mut Option<PathBuf>,
        state: Option<&Path>,
    ) -> Result<RemoteFolders> {
        let mut remote = RemoteFolders::default();
        let own = |name: &str| -> Result<PathBuf> {
            let missing = "a folder in object storage has a copy below the state; wanted --state with a local folder";
            Ok(state.ok_or_else(|| Error::usage(missing))?.join("objects").join(name))
        };
        for (path, url, name) in
            [(&mut run.input.path, &mut remote.input, "input"), (&mut run.output.path, &mut remote.output, "output")]
        {
            if is_url(path) {
                check(path)?;
                *url = Some(std::mem::replace(path, own(name)?));
            }
        }
        if let Some(path) = incoming.as_mut().filter(|path| is_url(path)) {
            check(path)?;
            remote.incoming = Some(std::mem::replace(path, own("incoming")?));
        }
        if let Some(state) = state.filter(|state| is_url(state)) {
            let cause = "a state is on a disk that syncs; wanted a local folder";
            return Err(Error::usage(format!("state {}: {cause}", state.display())));
        }
        Ok(remote)
    }
}

/// Checks that a folder can be reached by this build, without asking for it.
#[cfg(feature = "s3")]
fn check(url: &Path) -> Result<()> {
    ObjectFolder::open(url).map(drop)
}

/// It can't.
#[cfg(not(feature = "s3"))]
fn check(url: &Path) -> Result<()> {
    let cause = "this build is without object storage; wanted one with the feature s3";
    Err(Error::usage(format!("{}: {cause}", crate::redacted::without_credentials(&url.display().to_string()))))
}
