//! TLS both ways, and what is said when it does not work.

use std::path::{Path, PathBuf};

use outplane_driver_p4runtime::ClientProblem;
use outplane_driver_p4runtime::{Backoff, Connection, ConvergeOptions, Error, Options, Problem, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::fake::Fake;
use crate::states::{options, pipeline, policy, target};

/// An authority, and what it has signed, in files.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        let authority = Self { folder: TempDir::new().expect("a folder"), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Certificate and key, signed.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }

    /// Certificate and key in files.
    fn identity(&self, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = self.sign(name);
        (self.write(&format!("{name}.pem"), &cert), self.write(&format!("{name}.key"), &key))
    }

    /// A switch that shows this name and wants to know who we are.
    async fn switch(&self, name: &str) -> Fake {
        let (cert, key) = self.sign(name);
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(cert, key))
            .client_ca_root(Certificate::from_pem(self.issuer.pem()));
        Fake::start_with(Some(tls)).await
    }

    fn files(&self, identity: Option<(PathBuf, PathBuf)>) -> TlsFiles {
        TlsFiles { ca: self.path("ca.pem"), identity, server_name: Some("leaf1.example".into()) }
    }
}

async fn connect(switch: &Fake, tls: TlsFiles) -> Result<Connection, Error> {
    let target = outplane_driver_p4runtime::Target { tls: Some(tls), ..target(switch.address) };
    let options = Options { backoff: Backoff { attempts: 1, ..Backoff::default() }, ..options() };
    Connection::open(target, pipeline(), options).await
}

#[tokio::test]
async fn both_sides_know_each_other() {
    let authority = Authority::new("network");
    let switch = authority.switch("leaf1.example").await;
    let identity = authority.identity("outplane");
    let mut connection = connect(&switch, authority.files(Some(identity))).await.expect("a connection");
    let report = connection
        .apply(&policy(5, outplane_compiler::program::ActionKind::AdminPermit), ConvergeOptions::default())
        .await
        .expect("converges");
    assert!(report.plan.total > 0);
}

#[tokio::test]
async fn strangers_are_refused_on_both_sides() {
    let authority = Authority::new("network");
    let switch = authority.switch("leaf1.example").await;
    let stranger = Authority::new("somebody");
    let ours = || Some(authority.identity("outplane"));

    // We do not know the switch's authority.
    let files = TlsFiles { ca: stranger.path("ca.pem"), ..authority.files(ours()) };
    let error = connect(&switch, files).await.expect_err("unknown authority");
    assert!(matches!(*error.problem, Problem::Client(ClientProblem::Unreachable { .. })), "{error}");
    assert!(
        error.to_string().contains("UnknownIssuer") || error.to_string().contains("certificate"),
        "{error}"
    );

    // It shows another name.
    let files = TlsFiles { server_name: Some("leaf2.example".into()), ..authority.files(ours()) };
    let error = connect(&switch, files).await.expect_err("another name").to_string();
    assert!(error.contains("not valid for name") || error.contains("NotValidForName"), "{error}");

    // It does not know us.
    for identity in [None, Some(stranger.identity("outplane"))] {
        let error = connect(&switch, authority.files(identity)).await.expect_err("it wants to know us");
        assert!(matches!(*error.problem, Problem::Client(ClientProblem::Unreachable { .. })), "{error}");
        let text = error.to_string();
        assert!(text.contains("CertificateRequired") || text.contains("UnknownCA"), "{text}");
    }

    // Plain text to a TLS port, and TLS to a plain one.
    let plain = Connection::open(
        target(switch.address),
        pipeline(),
        Options { backoff: Backoff { attempts: 1, ..Backoff::default() }, ..options() },
    );
    assert!(plain.await.expect_err("not plain").is_disconnect());
    let plain_switch = Fake::start().await;
    assert!(connect(&plain_switch, authority.files(ours())).await.expect_err("not TLS").is_disconnect());
}

#[tokio::test]
async fn errors_name_the_file() {
    let authority = Authority::new("network");
    let switch = authority.switch("leaf1.example").await;
    let (cert, key) = authority.identity("outplane");
    let (_, other_key) = authority.identity("other");
    let missing = authority.path("missing.pem");
    let junk = authority.write("junk.pem", "not PEM\n");
    let broken =
        authority.write("broken.pem", "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n");
    let huge = authority.write("huge.pem", &"x".repeat((1 << 20) + 1));
    let files = |ca: &Path, cert: &Path, key: &Path| TlsFiles {
        ca: ca.to_owned(),
        identity: Some((cert.to_owned(), key.to_owned())),
        server_name: None,
    };
    let ca = authority.path("ca.pem");
    for (files, file, problem) in [
        (files(&missing, &cert, &key), &missing, "No such file"),
        (files(&junk, &cert, &key), &junk, "no certificate in PEM form"),
        (files(&broken, &cert, &key), &broken, "not a certificate in PEM form"),
        (files(&huge, &cert, &key), &huge, "more than 1048576 bytes"),
        (files(&ca, &key, &key), &key, "no certificate in PEM form"),
        (files(&ca, &cert, &cert), &cert, "no private key in PEM form"),
        (files(&ca, &cert, &missing), &missing, "No such file"),
        (files(&ca, &cert, &other_key), &cert, "its key is"),
    ] {
        let error = connect(&switch, files).await.expect_err("a wrong file");
        let Problem::Client(ClientProblem::Tls { file: named, .. }) = &*error.problem else {
            panic!("{error}")
        };
        assert_eq!(named, file);
        let text = error.to_string();
        assert!(text.contains(problem) && text.contains(file.to_str().expect("UTF-8")), "{text}");
    }
}

#[tokio::test]
async fn addresses_that_are_none() {
    for (address, problem) in [
        ("", "the address is wrong"),
        ("leaf1", "it has no port"),
        ("leaf1:0", "it has no port"),
        (":9559", "the address is wrong"),
        ("leaf 1:9559", "the address is wrong"),
        ("leaf1:99999", "the address is wrong"),
        ("leaf1:9559/path", "it is not a host and a port"),
        ("http://leaf1:9559", "the address is wrong"),
    ] {
        let error = Connection::open(target(address), pipeline(), options()).await.expect_err(address);
        assert!(
            matches!(*error.problem, Problem::Client(ClientProblem::Address { .. })),
            "{address}: {error}"
        );
        assert!(error.to_string().contains(problem), "{address}: {error}");
    }
}
