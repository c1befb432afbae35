//! The folder of a lake: on a disk, or in object storage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::error::{Error, Result};
use crate::objects::is_url;
use crate::redacted::without_credentials;

/// The folder of a lake.
pub(super) struct LakeStore {
    /// Where it is, for messages.
    pub(super) place: String,
    pub(super) store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// The URL of the folder, which ends with a slash.
    url: Url,
    runtime: Runtime,
}

/// How many files are read or written at a time.
const AT_A_TIME: usize = 8;

impl LakeStore {
    /// Opens a folder, which is made if it is not there, or the URL of one in object storage.
    ///
    /// # Errors
    ///
    /// If it can't be made, or the URL is none.
    pub(super) fn open(path: &Path) -> Result<LakeStore> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Error::failed)?;
        if is_url(path) {
            return remote(path, runtime);
        }
        fs::create_dir_all(path).map_err(Error::writing(path))?;
        let root: PathBuf = fs::canonicalize(path).map_err(Error::reading(path))?;
        let wrong = || Error::usage(format!("{}: wanted a path that can be a URL", root.display()));
        let url = Url::from_directory_path(&root).map_err(|()| wrong())?;
        let prefix = ObjectPath::from_absolute_path(&root).map_err(|_| wrong())?;
        // What is acknowledged is on stable storage.
        let store = Arc::new(LocalFileSystem::new().with_fsync(true));
        Ok(LakeStore { place: path.display().to_string(), store, prefix, url, runtime })
    }

    /// The URL of a table.
    pub(super) fn url_of(&self, table: &str) -> Result<Url> {
        self.url.join(&format!("{table}/")).map_err(Error::failed)
    }

    /// Writes a file, in the place of another one of its name.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let key = self.key(name);
        let put = self.store.put(&key, PutPayload::from(bytes));
        self.runtime.block_on(put).map(drop).map_err(|error| self.named(name, &error))
    }

    /// Reads a file; `None` if there is none.
    pub(super) fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let key = self.key(name);
        let got = self.runtime.block_on(async { self.store.get(&key).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.named(name, &error)),
        }
    }

    /// Reads files, several at a time.
    pub(super) fn get_all(&self, names: &[String]) -> Result<Vec<Bytes>> {
        let get = |name: &String| {
            let (key, name) = (self.key(name), name.clone());
            async move {
                let got = async { self.store.get(&key).await?.bytes().await };
                got.await.map_err(|error| self.named(&name, &error))
            }
        };
        self.runtime.block_on(stream::iter(names.iter().map(get)).buffered(AT_A_TIME).try_collect())
    }

    /// Writes files, several at a time.
    pub(super) fn put_all(&self, files: Vec<(String, Vec<u8>)>) -> Result<()> {
        let put = |(name, bytes): (String, Vec<u8>)| async move {
            let put = self.store.put(&self.key(&name), PutPayload::from(bytes)).await;
            put.map(drop).map_err(|error| self.named(&name, &error))
        };
        self.runtime.block_on(stream::iter(files.into_iter().map(put)).buffer_unordered(AT_A_TIME).try_collect())
    }

    /// The files below a folder, with their names in the folder of the lake.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<(String, ObjectMeta)>> {
        let found = self.store.list(Some(&self.key(folder)));
        let found: Vec<ObjectMeta> =
            self.runtime.block_on(found.try_collect()).map_err(|error| self.named(folder, &error))?;
        let own = |meta: ObjectMeta| {
            let name = meta.location.prefix_match(&self.prefix)?;
            let name = name.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
            Some((name, meta))
        };
        Ok(found.into_iter().filter_map(own).collect())
    }

    /// Removes files, as far as that is possible: what is left is removed later.
    pub(super) fn delete(&self, names: &[String]) {
        let delete = |name: &String| {
            let (key, name) = (self.key(name), name.clone());
            async move {
                match self.store.delete(&key).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => tracing::warn!("{}/{name} is left: {error}", self.place),
                }
            }
        };
        self.runtime.block_on(stream::iter(names.iter().map(delete)).buffer_unordered(AT_A_TIME).collect::<()>());
    }

    fn key(&self, name: &str) -> ObjectPath {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn named(&self, name: &str, error: &object_store::Error) -> Error {
        Error::failed(format!("{}/{name}: {}", self.place, without_credentials(&error.to_string())))
    }
}

#[cfg(feature = "s3")]
fn remote(path: &Path, runtime: Runtime) -> Result<LakeStore> {
    let folder = crate::objects::ObjectFolder::open(path)?;
    let place = folder.url().to_owned();
    let url = Url::parse(&format!("{place}/")).map_err(Error::failed)?;
    let (store, prefix) = folder.into_store();
    Ok(LakeStore { place, store, prefix, url, runtime })
}

#[cfg(not(feature = "s3"))]
fn remote(path: &Path, _: Runtime) -> Result<LakeStore> {
    let cause = "this build is without object storage; wanted one with the feature s3, or a folder";
    Err(Error::usage(format!("{}: {cause}", path.display())))
}
