//! Putting a version of tables into object storage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{
    Error as StoreError, ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, WriteMultipart,
};
use twox_hash::XxHash3_128;

use crate::crash;
use crate::error::{Error, Result};

use super::manifest::{VersionManifest, VersionedFile};
use super::store::{AT_A_TIME, ObjectFolder};

const MANIFEST: &str = "current.json";
const VERSIONS: &str = "versions";
/// What is read of a file, and sent, at a time.
const PIECE: usize = 8 << 20;
/// What no manifest names is removed once it is so old: a run may be putting it.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A file that is to be put.
struct VersionFile {
    path: PathBuf,
    /// Its path below the version.
    below: String,
}

impl ObjectFolder {
    /// Makes a version of tables, which a local folder has, the current one.
    ///
    /// # Errors
    ///
    /// If an object can't be written, or somebody else has published meanwhile. The version before then stays the
    /// current one.
    pub(crate) fn publish(&self, local: &Path, version: &str) -> Result<()> {
        let former = self.former()?;
        if former.as_ref().is_some_and(|(manifest, _)| manifest.version == version) {
            return Ok(());
        }
        let (known, condition) = match &former {
            Some((manifest, condition)) => (manifest.clone(), PutMode::Update(condition.clone())),
            None => (VersionManifest::default(), PutMode::Create),
        };
        let files = files_of(local)?;
        let putting =
            stream::iter(files).map(|file| async { self.put(version, &known, file).await }).buffer_unordered(AT_A_TIME);
        let put: Vec<VersionedFile> = self.wait(putting.try_collect())?;
        crash::point("objects: files put");
        let mut tables: BTreeMap<String, Vec<VersionedFile>> = BTreeMap::new();
        for file in put {
            let table = file.path.split('/').nth(2).unwrap_or_default().to_owned();
            tables.entry(table).or_default().push(file);
        }
        tables.values_mut().for_each(|files| files.sort_by(|a, b| a.path.cmp(&b.path)));
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let published_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let (previous, dropped) = former.map_or((None, None), |(former, _)| (Some(former.version), former.previous));
        let manifest = VersionManifest { version: version.to_owned(), previous, published_ms, tables };
        let text = serde_json::to_vec_pretty(&manifest).map_err(Error::failed)?;
        let options = PutOptions { mode: condition, ..PutOptions::default() };
        let (key, payload) = (self.key(MANIFEST), PutPayload::from(text));
        let switched = self.wait(async { Ok(self.store.put_opts(&key, payload, options).await) })?;
        match switched {
            Ok(_) => {}
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                // A request that was answered with an error may have been done, and was then repeated.
                if self.former()?.is_none_or(|(now, _)| now.version != version) {
                    let cause = "another run has published there meanwhile; its tables stay";
                    return Err(Error::failed(format!("{}: {cause}", self.url())));
                }
            }
            Err(error) => return Err(self.named(&error)),
        }
        crash::point("objects: version switched");
        if let Err(error) = self.clean_up(&manifest, dropped.as_deref()) {
            tracing::warn!("{error}; the versions before stay");
        }
        Ok(())
    }

    /// The current version, and what tells whether it is still that.
    fn former(&self) -> Result<Option<(VersionManifest, UpdateVersion)>> {
        let found = self.wait(async {
            match self.store.get(&self.key(MANIFEST)).await {
                Ok(found) => {
                    let version =
                        UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                    let text = found.bytes().await.map_err(|error| self.named(&error))?;
                    Ok(Some((text, version)))
                }
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(self.named(&error)),
            }
        })?;
        let Some((text, version)) = found else { return Ok(None) };
        let manifest = serde_json::from_slice(&text);
        let manifest = manifest.map_err(|cause| {
            let what_to_do = "it was not made by millstream; choose another folder";
            Error::usage(format!("{}/{MANIFEST}: {cause}; {what_to_do}", self.url()))
        })?;
        Ok(Some((manifest, version)))
    }

    /// Puts a file of a version; one that the current version has is copied there.
    async fn put(&self, version: &str, known: &VersionManifest, file: VersionFile) -> Result<VersionedFile> {
        let VersionFile { path, below } = file;
        let (bytes, digest) = digest_of(&path)?;
        let made = VersionedFile { path: format!("{VERSIONS}/{version}/{below}"), bytes, digest };
        let key = self.key(&made.path);
        if let Some(same) = known.same(&below, bytes, &made.digest)
            && self.store.copy(&self.key(&same.path), &key).await.is_ok()
        {
            return Ok(made);
        }
        let mut content = File::open(&path).map_err(Error::reading(&path))?;
        if bytes <= PIECE as u64 {
            let mut whole = Vec::new();
            content.read_to_end(&mut whole).map_err(Error::reading(&path))?;
            self.store.put(&key, whole.into()).await.map_err(|error| self.named(&error))?;
            return Ok(made);
        }
        let upload = self.store.put_multipart(&key).await.map_err(|error| self.named(&error))?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PIECE);
        let mut piece = vec![0; PIECE];
        loop {
            writer.wait_for_capacity(2).await.map_err(|error| self.named(&error))?;
            match content.read(&mut piece).map_err(Error::reading(&path))? {
                0 => break,
                read => writer.write(&piece[..read]),
            }
        }
        writer.finish().await.map_err(|error| self.named(&error))?;
        Ok(made)
    }

    /// Removes the version that no reader needs any more, and what killed runs have left.
    fn clean_up(&self, manifest: &VersionManifest, dropped: Option<&str>) -> Result<()> {
        let all = self.key(VERSIONS);
        let objects: Vec<ObjectMeta> = self.ask(self.store.list(Some(&all)).try_collect())?;
        let version_of = |object: &ObjectMeta| {
            object.location.prefix_match(&all).and_then(|mut parts| Some(parts.next()?.as_ref().to_owned()))
        };
        let kept: BTreeSet<&str> =
            [Some(manifest.version.as_str()), manifest.previous.as_deref()].into_iter().flatten().collect();
        let now = chrono::DateTime::<chrono::Utc>::from(SystemTime::now());
        let mut newest: BTreeMap<String, chrono::DateTime<chrono::Utc>> = BTreeMap::new();
        for object in &objects {
            let Some(version) = version_of(object) else { continue };
            let known = newest.entry(version).or_insert(object.last_modified);
            *known = (*known).max(object.last_modified);
        }
        let is_old = |version: &str| {
            let age = newest.get(version).map(|newest| (now - newest).to_std().unwrap_or_default());
            age.is_some_and(|age| age >= ABANDONED_AFTER || dropped == Some(version))
        };
        let unneeded = objects.iter().filter(|object| {
            version_of(object).is_some_and(|version| !kept.contains(version.as_str()) && is_old(&version))
        });
        let keys: Vec<_> = unneeded.map(|object| object.location.clone()).collect();
        let removing = stream::iter(keys).map(|key| async move {
            match self.store.delete(&key).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.named(&error)),
            }
        });
        self.wait(removing.buffer_unordered(AT_A_TIME).try_collect::<()>())
    }
}

/// The size and the digest of a file.
fn digest_of(path: &Path) -> Result<(u64, String)> {
    let (mut file, mut hasher) = (File::open(path).map_err(Error::reading(path))?, XxHash3_128::new());
    let (mut piece, mut bytes) = (vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut piece).map_err(Error::reading(path))?;
        if read == 0 {
            return Ok((bytes, format!("{:032x}", hasher.finish_128())));
        }
        hasher.write(&piece[..read]);
        bytes += read as u64;
    }
}

/// The files of a version, through links to tables that did not change.
fn files_of(local: &Path) -> Result<Vec<VersionFile>> {
    let (mut files, mut folders) = (Vec::new(), vec![(local.to_owned(), String::new())]);
    while let Some((folder, below)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::reading(&folder))? {
            let entry = entry.map_err(Error::reading(&folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let (path, below) = (entry.path(), if below.is_empty() { name } else { format!("{below}/{name}") });
            match fs::metadata(&path).map_err(Error::reading(&path))?.is_dir() {
                true => folders.push((path, below)),
                false => files.push(VersionFile { path, below }),
            }
        }
    }
    Ok(files)
}
