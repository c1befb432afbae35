//! TLS.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};

/// Accepts TLS connections for some protocols with the certificate chain and key of two PEM files.
///
/// # Errors
///
/// If they can't be read, or do not fit each other.
pub(super) fn acceptor(cert: &Path, key: &Path, protocols: &[&[u8]]) -> Result<TlsAcceptor> {
    let unusable = |path: &Path, cause: &dyn std::fmt::Display| {
        Error::usage(format!("serve.tls: {}: {cause}; wanted a file in PEM", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(cert).and_then(|certs| certs.collect::<Result<Vec<_>, _>>());
    let chain = chain.map_err(|cause| unusable(cert, &cause))?;
    if chain.is_empty() {
        return Err(unusable(cert, &"it has no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|cause| unusable(key, &cause))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private));
    let mut config = config.map_err(|cause| unusable(cert, &cause))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}
