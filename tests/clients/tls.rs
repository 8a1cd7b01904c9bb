//! A certificate for 127.0.0.1 that nobody has signed but itself, and the Rust client over TLS with it.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use faktory::{Connection, Reconnect};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, BufStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::Place;

/// Files of a new certificate and its key, both PEM.
pub struct Certificate {
    pub cert: String,
    pub key: String,
}

impl Certificate {
    pub fn new(place: &Place) -> Certificate {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let cert = place.write("cert.pem", made.cert.pem());
        Certificate { cert, key: place.write("key.pem", made.signing_key.serialize_pem()) }
    }

    pub fn flags(&self) -> [&str; 4] {
        ["--faktory-tls-cert", &self.cert, "--faktory-tls-key", &self.key]
    }
}

/// A connection that trusts one certificate. The client calls for a stream that can be dialled again.
pub struct Secure {
    stream: TlsStream<TcpStream>,
    config: Arc<ClientConfig>,
    port: u16,
}

impl Secure {
    pub async fn dial(port: u16, trusted: &Certificate) -> io::Result<BufStream<Secure>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&trusted.cert).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Secure::dial_with(port, Arc::new(config)).await
    }

    /// Trusts nobody.
    pub async fn dial_in_doubt(port: u16) -> io::Result<BufStream<Secure>> {
        let config =
            ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        Secure::dial_with(port, Arc::new(config)).await
    }

    async fn dial_with(port: u16, config: Arc<ClientConfig>) -> io::Result<BufStream<Secure>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
        Ok(BufStream::new(Secure { stream, config, port }))
    }
}

// What `async_trait` makes of the client's trait, by hand.
impl Reconnect for Secure {
    fn reconnect<'s, 'f>(
        &'s mut self,
    ) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let again = Secure::dial_with(self.port, self.config.clone()).await?;
            Ok(Box::new(again) as Box<dyn Connection>)
        })
    }
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
