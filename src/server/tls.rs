//! TLS with a certificate and a key from PEM files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::Acceptor;
use rustls::{ServerConfig, crypto::ring};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::auth::handshake_gate::HandshakeGate;

/// A certificate or a key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has not what it should have.
    #[error("{}: {problem}", path.display())]
    File {
        /// Of certificates or of a key, as it is configured.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The two do not make a server.
    #[error("{} and {}: {source}", cert.display(), key.display())]
    Pair {
        /// The file of the certificates.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// Reads both files. The first certificate is the server's own, the others lead to its root.
///
/// # Errors
/// A file is unreadable or holds something else, or the key does not belong to the certificate.
pub fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let wrong = |path: &Path, error: pem::Error, wanted| TlsError::File {
        path: path.to_owned(),
        problem: match error {
            pem::Error::NoItemsFound => format!("no {wanted} in it"),
            error => error.to_string(),
        },
    };
    let certificates = CertificateDer::pem_file_iter(cert)
        .and_then(|all| all.collect::<Result<Vec<_>, _>>())
        .and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) })
        .map_err(|error| wrong(cert, error, "certificate in PEM form"))?;
    let private_key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error, "private key in PEM form"))?;
    let pair = |source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(certificates, private_key)
        .map_err(pair)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The server's half of a TLS handshake. Its signature is computed in its turn, on a thread where nobody else waits.
///
/// # Errors
/// The client is gone, or speaks no TLS that we do.
pub(super) async fn accept<S>(tls: &TlsAcceptor, stream: S, gate: &HandshakeGate) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let config = Arc::clone(tls.config());
    gate.compute(move || hello.into_stream(config)).await.await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(cert: &Path, key: &Path) -> String {
        match acceptor(cert, key) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error.to_string().replace(&format!("{}/", cert.parent().unwrap().display()), ""),
        }
    }

    #[test]
    fn files_that_make_no_server_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let pair = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let (cert, key) =
                (dir.path().join(format!("{name}.cert")), dir.path().join(format!("{name}.key")));
            std::fs::write(&cert, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            (cert, key)
        };
        let ((cert, key), (_, other_key)) = (pair("a"), pair("b"));
        assert_eq!(told(&cert, &key), "fine");
        assert!(told(&cert, &other_key).starts_with("a.cert and b.key: "), "{}", told(&cert, &other_key));
        assert_eq!(told(&key, &key), "a.key: no certificate in PEM form in it");
        assert_eq!(told(&cert, &cert), "a.cert: no private key in PEM form in it");
        let missing = told(&dir.path().join("none"), &key);
        assert!(missing.starts_with("none: ") && missing.contains("No such file"), "{missing}");
    }
}
