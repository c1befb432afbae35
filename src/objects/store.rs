//! A folder in object storage, and how it is reached.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as ObjectPath;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreScheme, RetryConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

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

/// How long a server may be silent within a request.
const SILENT_FOR: &str = "30 seconds";
/// How often it is looked whether to go on while a request is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
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
        let retry = RetryConfig { retry_timeout: RETRY_FOR, max_retries: usize::MAX, ..RetryConfig::default() };
        // A large object may take long, as long as something comes.
        let [whole, silent] = [(ClientConfigKey::Timeout, "1 day"), (ClientConfigKey::ReadTimeout, SILENT_FOR)];
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::AmazonS3 => {
                let store = AmazonS3Builder::from_env().with_url(&url).with_retry(retry);
                let store = store.with_config(AmazonS3ConfigKey::Client(whole.0), whole.1);
                let store = store.with_config(AmazonS3ConfigKey::Client(silent.0), silent.1).build();
                Arc::new(store.map_err(|cause| wrong(&cause.to_string()))?)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let store = GoogleCloudStorageBuilder::from_env().with_url(&url).with_retry(retry);
                let store = store.with_config(GoogleConfigKey::Client(whole.0), whole.1);
                let store = store.with_config(GoogleConfigKey::Client(silent.0), silent.1).build();
                Arc::new(store.map_err(|cause| wrong(&cause.to_string()))?)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let store = MicrosoftAzureBuilder::from_env().with_url(&url).with_retry(retry);
                let store = store.with_config(AzureConfigKey::Client(whole.0), whole.1);
                let store = store.with_config(AzureConfigKey::Client(silent.0), silent.1).build();
                Arc::new(store.map_err(|cause| wrong(&cause.to_string()))?)
            }
            _ => return Err(wrong(wanted)),
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Error::failed)?;
        Ok(ObjectFolder { url, store, prefix, runtime })
    }

    /// What reads and writes there, and below which prefix.
    #[cfg(feature = "delta")]
    pub(crate) fn into_store(self) -> (Arc<dyn ObjectStore>, ObjectPath) {
        // Its runtime may not be dropped within another one, and ends with the process.
        self.runtime.shutdown_background();
        (self.store, self.prefix)
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

    /// The same; `go_on` fails when it is to stop.
    pub(super) fn wait_unless<T>(
        &self,
        go_on: impl Fn() -> Result<()>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.runtime.block_on(async {
            let mut work = pin!(work);
            loop {
                match timeout(LOOK_EVERY, &mut work).await {
                    Ok(done) => return done,
                    Err(_) => go_on()?,
                }
            }
        })
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
