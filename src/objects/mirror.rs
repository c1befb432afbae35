//! A local copy of a folder in object storage.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt};

use crate::error::{Error, Result};
use crate::folder_names::natural_order;

use super::store::{AT_A_TIME, ObjectFolder};

/// A local folder that gets what a folder in object storage has. What is gone there stays here.
pub(crate) struct Mirror {
    folder: ObjectFolder,
    local: PathBuf,
}

impl Mirror {
    /// Mirrors a folder into a local one, which is made if it is not there.
    pub(crate) fn new(folder: ObjectFolder, local: &Path) -> Mirror {
        Mirror { folder, local: local.to_owned() }
    }

    /// Fetches what is new or has changed, of those objects whose names below the folder are wanted. The files appear
    /// as a whole, once all are there, in the order in which they count. Returns how many there were, and their bytes.
    /// `go_on` fails when it is to stop.
    ///
    /// # Errors
    ///
    /// If the folder can't be listed or an object can't be read, or a file can't be written.
    pub(crate) fn fetch(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        go_on: impl Fn() -> Result<()>,
    ) -> Result<(usize, u64)> {
        let list = self.folder.store.list(Some(&self.folder.prefix)).try_collect::<Vec<ObjectMeta>>();
        let mut objects = Vec::new();
        let list = async { list.await.map_err(|error| self.folder.named(&error)) };
        for object in self.folder.wait_unless(&go_on, list)? {
            let Some(name) = self.name(&object) else { continue };
            let path = self.local.join(&name);
            // An empty one marks a folder.
            if is_wanted(&name) && object.size > 0 && !is_there(&path, &object) {
                objects.push((object, path));
            }
        }
        let bytes = objects.iter().map(|(object, _)| object.size).sum();
        let go_on = &go_on;
        let fetching =
            stream::iter(objects).map(|(object, path)| async move { self.fetch_one(&object, path, go_on).await });
        let fetched = fetching.buffer_unordered(AT_A_TIME).try_collect::<Vec<_>>();
        let mut fetched: Vec<PathBuf> = self.folder.wait_unless(go_on, fetched)?.into_iter().flatten().collect();
        fetched.sort_by(|a, b| natural_order(&a.to_string_lossy(), &b.to_string_lossy()));
        for path in &fetched {
            fs::rename(hidden(path), path).map_err(Error::writing(path))?;
        }
        Ok((fetched.len(), bytes))
    }

    /// The name of an object below the folder; `None` for what is no file, or is hidden.
    fn name(&self, object: &ObjectMeta) -> Option<String> {
        let below: Vec<String> =
            object.location.prefix_match(&self.folder.prefix)?.map(|part| part.as_ref().to_owned()).collect();
        let is_hidden = |part: &String| part.starts_with(['.', '_']);
        (!below.is_empty() && !below.iter().any(is_hidden)).then(|| below.join("/"))
    }

    /// Fetches an object under a hidden name; `None` if it is gone.
    async fn fetch_one(
        &self,
        object: &ObjectMeta,
        path: PathBuf,
        go_on: &impl Fn() -> Result<()>,
    ) -> Result<Option<PathBuf>> {
        go_on()?;
        let found = match self.folder.store.get(&object.location).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.folder.named(&error)),
        };
        let folder = path.parent().unwrap_or(&self.local);
        fs::create_dir_all(folder).map_err(Error::writing(folder))?;
        let hidden = hidden(&path);
        let mut file = File::create(&hidden).map_err(Error::writing(&hidden))?;
        let mut pieces = found.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| self.folder.named(&error))?;
            file.write_all(&piece).map_err(Error::writing(&hidden))?;
            go_on()?;
        }
        file.set_modified(SystemTime::from(object.last_modified)).map_err(Error::writing(&hidden))?;
        // After a power cut, a file of this size and time must have its content.
        file.sync_all().map_err(Error::writing(&hidden))?;
        Ok(Some(path))
    }
}

/// The name of a file until it is whole.
fn hidden(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.fetched", path.file_name().unwrap_or_default().to_string_lossy()))
}

/// True if a file is the copy of an object.
fn is_there(path: &Path, object: &ObjectMeta) -> bool {
    let Ok(found) = fs::metadata(path) else { return false };
    let modified = found.modified().ok().map(chrono::DateTime::<chrono::Utc>::from);
    found.len() == object.size && modified.is_some_and(|modified| modified == object.last_modified)
}
