//! A folder in object storage, and how it is reached.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Result};
use crate::printable::printable;
use crate::redacted::without_credentials;

/// A folder in object storage.
pub(crate) struct ObjectFolder {
    url: String,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: ObjectPath,
    runtime: Runtime,
}

/// For how long a request is tried again.
const RETRY_FOR: Duration = Duration::from_secs(60);
/// How many requests are under way at a time.
pub(super) const AT_A_TIME: usize = 8;

impl ObjectFolder {
    /// Takes a URL such as `s3://BUCKET/FOLDER`. Credentials come from the environment (`AWS_ACCESS_KEY_ID`, …), or
    /// from the machine that this is. Nothing is asked for yet.
    ///
    /// # Errors
    ///
    /// If it is not such a URL, or something is missing that the environment must say.
    pub(crate) fn open(url: &Path) -> Result<ObjectFolder> {
        let url = url.to_string_lossy().trim_end_matches('/').to_owned();
        let wanted = "wanted s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or az://CONTAINER/FOLDER";
        let shown = without_credentials(url.split(['?', '#']).next().unwrap_or_default());
        let wrong = |cause: &str| Error::usage(format!("{shown}: {cause}"));
        let parsed = url::Url::parse(&url).map_err(|_| wrong(wanted))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong("credentials do not belong into a URL; the environment has them"));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("found ? or # in it; credentials do not belong into a URL; the environment has them"));
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|_| wrong(wanted))?;
        // Of those that are linked in, the one without assembler.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let retry = RetryConfig { retry_timeout: RETRY_FOR, ..RetryConfig::default() };
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::AmazonS3 => {
                let store = AmazonS3Builder::from_env().with_url(&url).with_retry(retry).build();
                Arc::new(store.map_err(|cause| wrong(&cause.to_string()))?)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let store = GoogleCloudStorageBuilder::from_env().with_url(&url).with_retry(retry).build();
                Arc::new(store.map_err(|cause| wrong(&cause.to_string()))?)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let store = MicrosoftAzureBuilder::from_env().with_url(&url).with_retry(retry).build();
                Arc::new(store.map_err(|cause| wrong(&cause.to_string()))?)
            }
            _ => return Err(wrong(wanted)),
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Error::failed)?;
        Ok(ObjectFolder { url, store, prefix, runtime })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What a request answers.
    pub(super) fn ask<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> Result<T> {
        self.runtime.block_on(request).map_err(|error| self.named(&error))
    }

    /// The same of what may fail otherwise, too.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(work)
    }

    /// The key of an object of the folder.
    pub(super) fn key(&self, name: &str) -> ObjectPath {
        let plain = ObjectPath::parse(format!("{}/{name}", self.prefix));
        plain.unwrap_or_else(|_| name.split('/').fold(self.prefix.clone(), |path, part| path.join(part)))
    }

    /// An error with the URL.
    pub(super) fn named(&self, error: &object_store::Error) -> Error {
        Error::failed(format!("{}: {}", self.url, without_credentials(&printable(&error.to_string()))))
    }
}
