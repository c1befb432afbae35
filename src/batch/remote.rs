//! Folders of a run that are in object storage: what is read is fetched before, what is written is put after.

use std::borrow::Cow;
#[cfg(feature = "s3")]
use std::env;
use std::fs;
#[cfg(feature = "s3")]
use std::fs::DirBuilder;
#[cfg(feature = "s3")]
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::objects::is_url;
#[cfg(feature = "s3")]
use crate::objects::{Mirror, ObjectFolder, is_input};
#[cfg(not(feature = "s3"))]
use crate::redacted::without_credentials;
#[cfg(feature = "s3")]
use crate::runtime::{Progress, new_run_id};

/// The folders of a run as they are on this machine.
pub(super) struct LocalFolders<'a> {
    pub(super) config: Cow<'a, RunConfig>,
    #[cfg(feature = "s3")]
    output: Option<ObjectFolder>,
    /// Is removed in the end.
    temporary: Option<PathBuf>,
}

impl<'a> LocalFolders<'a> {
    /// Fetches the input folder, if it is in object storage, and makes room for the output.
    ///
    /// # Errors
    ///
    /// If a URL is none, or the folder can't be read.
    #[cfg(feature = "s3")]
    pub(super) fn of(config: &'a RunConfig, progress: &Progress) -> Result<LocalFolders<'a>> {
        let [input, output] = [&config.input.path, &config.output.path].map(|path| is_url(path));
        let mut local = LocalFolders { config: Cow::Borrowed(config), output: None, temporary: None };
        if !input && !output {
            return Ok(local);
        }
        if config.job.cluster.as_ref().is_some_and(|cluster| cluster.hosts.len() > 1) {
            return Err(Error::usage("cluster: several processes read and write local folders; wanted no URL"));
        }
        let folder = temporary_folder()?;
        local.temporary = Some(folder.clone());
        if output {
            local.output = Some(ObjectFolder::open(&config.output.path)?);
            local.config.to_mut().output.path = folder.join("output");
        }
        if input {
            let from = ObjectFolder::open(&config.input.path)?;
            tracing::info!("fetching {}", from.url());
            let path = folder.join("input");
            fs::create_dir(&path).map_err(Error::writing(&path))?;
            let (objects, bytes) = Mirror::new(from, &path).fetch(is_input, || progress.check_not_stopped())?;
            tracing::info!("fetched {objects} objects, {} MB", bytes / 1_000_000);
            progress.check_not_stopped()?;
            local.config.to_mut().input.path = path;
        }
        Ok(local)
    }

    /// The folders, which are all on this machine.
    ///
    /// # Errors
    ///
    /// If they are not: this build can't reach them.
    #[cfg(not(feature = "s3"))]
    pub(super) fn of(config: &'a RunConfig) -> Result<LocalFolders<'a>> {
        for path in [&config.input.path, &config.output.path] {
            if is_url(path) {
                let cause = "this build is without object storage; wanted one with the feature s3";
                let shown = without_credentials(&path.display().to_string());
                return Err(Error::usage(format!("{shown}: {cause}")));
            }
        }
        Ok(LocalFolders { config: Cow::Borrowed(config), temporary: None })
    }

    /// Puts the version that a run has made, if the output folder is in object storage.
    ///
    /// # Errors
    ///
    /// If it can't be written, or somebody else has published meanwhile.
    #[cfg(feature = "s3")]
    pub(super) fn publish(&self, run_id: &str) -> Result<()> {
        let Some(output) = &self.output else { return Ok(()) };
        output.publish(&self.config.output.path.join(".millstream/current"), run_id)
    }
}

/// A folder of this run's own, in the folder for temporary files.
#[cfg(feature = "s3")]
fn temporary_folder() -> Result<PathBuf> {
    let folder = env::temp_dir().join(format!("millstream-{}", new_run_id()));
    DirBuilder::new().mode(0o700).create(&folder).map_err(Error::writing(&folder))?;
    Ok(folder)
}

impl Drop for LocalFolders<'_> {
    fn drop(&mut self) {
        if let Some(folder) = &self.temporary {
            let _ = fs::remove_dir_all(folder);
        }
    }
}
