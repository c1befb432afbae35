//! Folders of a service that are in object storage, and their copies below the state.

use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(feature = "s3")]
use std::thread;
#[cfg(feature = "s3")]
use std::time::Duration;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::objects::is_url;
#[cfg(feature = "s3")]
use crate::objects::{Mirror, ObjectFolder, is_input};
use crate::runtime::Progress;

use super::inbox::Inbox;
use super::published::Published;
use super::settings::ServiceConfig;

/// The URLs of folders that are in object storage.
#[derive(Clone, Debug, Default)]
pub struct RemoteFolders {
    input: Option<PathBuf>,
    incoming: Option<PathBuf>,
    output: Option<PathBuf>,
}

/// How often a folder is looked at in which files arrive.
#[cfg(feature = "s3")]
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The same after it could not be.
#[cfg(feature = "s3")]
const LOOK_AFTER_FAILURE: Duration = Duration::from_secs(30);

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

    /// Fetches the input folder.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub(super) fn fetch_input(&self, config: &ServiceConfig, progress: &Progress) -> Result<()> {
        #[cfg(feature = "s3")]
        if let Some(url) = &self.input {
            let from = ObjectFolder::open(url)?;
            tracing::info!("fetching {}", from.url());
            let (objects, bytes) =
                Mirror::new(from, &config.run.input.path).fetch(is_input, || progress.check_not_stopped())?;
            tracing::info!("fetched {objects} objects, {} MB", bytes / 1_000_000);
        }
        let _ = (config, progress);
        Ok(())
    }

    /// Begins to fetch what arrives in the folder of incoming files, until the inbox is closed.
    ///
    /// # Errors
    ///
    /// If its URL is none.
    pub(super) fn begin_fetching(&self, config: &ServiceConfig, inbox: &Arc<Inbox>) -> Result<()> {
        #[cfg(feature = "s3")]
        if let Some(url) = self.incoming.as_ref().or(self.input.as_ref().filter(|_| config.incoming.is_none())) {
            let folder = ObjectFolder::open(url)?;
            let (url, inbox) = (folder.url().to_owned(), Arc::clone(inbox));
            let mirror = Mirror::new(folder, config.incoming());
            thread::spawn(move || {
                loop {
                    let go_on = || match inbox.is_closed() {
                        true => Err(Error::failed("the service stops")),
                        false => Ok(()),
                    };
                    let next = match mirror.fetch(is_input, go_on) {
                        Ok(_) => LOOK_EVERY,
                        Err(error) => {
                            tracing::warn!("{error}; it is looked at again in {} s", LOOK_AFTER_FAILURE.as_secs());
                            LOOK_AFTER_FAILURE
                        }
                    };
                    if inbox.closes_within(next) {
                        tracing::debug!("{url} is not looked at any more");
                        return;
                    }
                }
            });
        }
        let _ = (config, inbox);
        Ok(())
    }

    /// Puts what is published here and was not put: the process was killed before.
    ///
    /// # Errors
    ///
    /// If the record of what is published can't be written.
    pub(super) fn publish_again(&self, config: &ServiceConfig) -> Result<()> {
        if let Err(error) = self.publish(config) {
            tracing::warn!("{error}; it is put with the next publication");
            Published::default().write(&config.state)?;
        }
        Ok(())
    }

    /// Puts the tables as they are published here, unless they are there.
    ///
    /// # Errors
    ///
    /// If they can't be written, or somebody else has published there meanwhile.
    pub(super) fn publish(&self, config: &ServiceConfig) -> Result<()> {
        #[cfg(feature = "s3")]
        if let Some(url) = &self.output {
            let current = config.run.output.path.join(".millstream/current");
            let Ok(version) = std::fs::read_link(&current) else { return Ok(()) };
            let version = version.file_name().unwrap_or_default().to_string_lossy().into_owned();
            ObjectFolder::open(url)?.publish(&current, &version)?;
        }
        let _ = config;
        Ok(())
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
