//! On which threads it is computed who somebody is, and on which conversations are held.

use std::collections::BTreeSet;
use std::sync::Mutex;

use beaver_actors::base::clock::SystemClock;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion,
    version,
};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// As the system's tools show it.
const MANAGER: &str = "beaver-manager";

/// The names of threads that did something.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<BTreeSet<String>>>);

impl Seen {
    fn here(&self) {
        let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        self.0.lock().unwrap().insert(name.trim().to_owned());
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().cloned().collect()
    }
}

/// A certificate whose every signature is seen.
#[derive(Debug)]
struct Witness {
    cert: CertificateDer<'static>,
    key: Arc<dyn SigningKey>,
    seen: Seen,
}

#[derive(Debug)]
struct WitnessKey(Arc<dyn SigningKey>, Seen);

#[derive(Debug)]
struct WitnessSigner(Box<dyn Signer>, Seen);

impl ResolvesServerCert for Witness {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.seen.here();
        let key = Arc::new(WitnessKey(self.key.clone(), self.seen.clone()));
        Some(Arc::new(CertifiedKey::new(vec![self.cert.clone()], key)))
    }
}

impl SigningKey for WitnessKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer = self.0.choose_scheme(offered)?;
        Some(Box::new(WitnessSigner(signer, self.1.clone())))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl Signer for WitnessSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.1.here();
        self.0.sign(message)
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}

/// The machine's time, which only INFO asks for: on the thread of its conversation.
struct WitnessClock(SystemClock, Seen);

impl Clock for WitnessClock {
    fn now(&self) -> Timestamp {
        self.1.here();
        self.0.now()
    }

    fn ticks(&self) -> Duration {
        self.0.ticks()
    }
}

fn client_config(
    trusted: &CertificateDer<'static>,
    spoken: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    ClientConfig::builder_with_protocol_versions(&[spoken])
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Row 71.
#[test]
fn handshakes_are_computed_anywhere_but_on_the_managers_thread_and_conversations_are_held_there() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let (signed, talked) = (Seen::default(), Seen::default());
    let witness = Witness {
        cert: cert.clone(),
        key: rustls::crypto::ring::sign::any_supported_type(&key).unwrap(),
        seen: signed.clone(),
    };
    let config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(witness));

    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("test-runtime").enable_all().build().unwrap()
    };
    actix_rt::System::with_tokio_rt(runtime).block_on(async {
        let engine = Engine::start(EngineOptions::in_dir(dir.path()), Handlers::new());
        engine.ready().await.unwrap();
        let mut limits = Settings::default().fwp.limits;
        // A busy machine may take long.
        limits.handshake_timeout = PATIENCE;
        let state = FwpState {
            engine: engine.clone(),
            registry: Registry::new(Arc::new(SystemClock::default())),
            clock: Arc::new(WitnessClock(SystemClock::default(), talked.clone())),
            password: Some(Secret::new("foobar")),
            tls: Some(TlsAcceptor::from(Arc::new(config))),
            payload_bytes_max: 100_000,
            limits,
            memory: Memory::of(&Settings::default()),
        };
        let server = FwpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.local_addr();
        let handle = server.spawn_beside(state);
        let mut clients = JoinSet::new();
        for number in 0..20 {
            let spoken = if number % 2 == 0 { &version::TLS13 } else { &version::TLS12 };
            let connector = TlsConnector::from(Arc::new(client_config(&cert, spoken)));
            clients.spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let mut client = Client(BufReader::new(connector.connect(name, stream).await.unwrap()));
                let greeting = client.reply().await;
                let hi: Value = serde_json::from_str(greeting.strip_prefix("+HI ").unwrap()).unwrap();
                let iterations = u32::try_from(hi["i"].as_u64().unwrap()).unwrap();
                let pwdhash = password_hash("foobar", hi["s"].as_str().unwrap(), iterations);
                let hello = format!("HELLO {}", json!({"v": 2, "pwdhash": pwdhash}));
                assert_eq!(client.ask(&hello).await, "+OK");
                client.push(job(&format!("job-{number:05}"))).await;
                assert!(client.ask("INFO").await.starts_with('{'));
                client
            });
        }
        let clients = clients.join_all().await;
        assert_eq!(engine.status().await.unwrap().jobs.total(), 20);
        assert!(!signed.names().is_empty() && !signed.names().contains(&MANAGER.to_owned()), "{signed:?}");
        assert_eq!(talked.names(), [MANAGER]);

        // What is held there ends with the server, not with the engine.
        handle.shut_down(Duration::from_secs(10)).await;
        for mut client in clients {
            client.is_closed().await;
        }
        engine.stop(None).await;
    });
}
