//! Copying between the folders of a service in object storage and their copies below the state.

use std::sync::Arc;
#[cfg(feature = "s3")]
use std::thread;
#[cfg(feature = "s3")]
use std::time::Duration;

#[cfg(feature = "s3")]
use crate::error::Error;
use crate::error::Result;
#[cfg(feature = "s3")]
use crate::objects::{Mirror, ObjectFolder, is_input};
use crate::runtime::Progress;

use super::inbox::Inbox;
use super::published::Published;
use super::settings::ServiceConfig;

/// How often a folder is looked at in which files arrive.
#[cfg(feature = "s3")]
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The same after it could not be.
#[cfg(feature = "s3")]
const LOOK_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Fetches the input folder.
///
/// # Errors
///
/// If it can't be read.
pub(super) fn fetch_input(config: &ServiceConfig, progress: &Progress) -> Result<()> {
    #[cfg(feature = "s3")]
    if let Some(url) = &config.remote.input {
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
pub(super) fn begin_fetching(config: &ServiceConfig, inbox: &Arc<Inbox>) -> Result<()> {
    #[cfg(feature = "s3")]
    if let Some(url) =
        config.remote.incoming.as_ref().or(config.remote.input.as_ref().filter(|_| config.incoming.is_none()))
    {
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
                    Err(_) if inbox.is_closed() => return,
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
pub(super) fn publish_again(config: &ServiceConfig) -> Result<()> {
    if let Err(error) = publish(config) {
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
pub(super) fn publish(config: &ServiceConfig) -> Result<()> {
    #[cfg(feature = "s3")]
    if let Some(url) = &config.remote.output {
        let current = config.run.output.path.join(".millstream/current");
        let Ok(version) = std::fs::read_link(&current) else { return Ok(()) };
        let version = version.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ObjectFolder::open(url)?.publish(&current, &version)?;
    }
    let _ = config;
    Ok(())
}
