//! TLS: whom the relay trusts, and who trusts the relay.

use std::{
    fs,
    path::{Path, PathBuf},
};

use auditrelay_loadtest::nats::{NatsOptions, NatsTls};
use auditrelay_store::jetstream::{JetStream, JetStreamError, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{one, refused, server};

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        fs::create_dir(&folder).expect("a file or a certificate");
        let mut params = CertificateParams::new(Vec::new()).expect("a file or a certificate");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(
            params,
            KeyPair::generate().expect("a file or a certificate"),
        )
        .expect("a file or a certificate");
        fs::write(folder.join("ca.pem"), issuer.pem()).expect("a file or a certificate");
        Self { issuer, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate and its key.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a file or a certificate");
        let params =
            CertificateParams::new(vec![name.to_owned()]).expect("a file or a certificate");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a file or a certificate");
        let (cert_file, key_file) = (
            self.folder.join(format!("{name}.pem")),
            self.folder.join(format!("{name}.key")),
        );
        fs::write(&cert_file, certificate.pem()).expect("a file or a certificate");
        fs::write(&key_file, key.serialize_pem()).expect("a file or a certificate");
        (cert_file, key_file)
    }
}

fn is_tls(error: &JetStreamError) {
    assert!(matches!(error, JetStreamError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("queue.jetstream.tls"), "{error}");
}

#[tokio::test]
async fn servers_with_certificates_and_relays_with_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let strange = Authority::new(folder.path(), "strange");
    let (cert_file, key_file) = ours.issue("127.0.0.1");
    let mut tls = NatsTls {
        cert_file,
        key_file,
        client_ca_file: None,
    };
    let with = NatsOptions {
        tls: Some(tls.clone()),
        ..NatsOptions::default()
    };
    let Some(mut server) = server(with) else {
        return;
    };
    let mut options = one(&server);

    // The system's authorities, or somebody else, did not sign it.
    is_tls(&refused(&options).await);
    options.tls.ca_file = Some(strange.ca());
    is_tls(&refused(&options).await);
    options.tls.ca_file = Some(folder.path().join("missing.pem"));
    let error = refused(&options).await;
    assert!(matches!(error, JetStreamError::File { .. }), "{error:?}");
    options.tls.ca_file = Some(ours.ca());
    assert!(
        JetStream::connect_when_there(&options)
            .await
            .unwrap()
            .is_connected()
    );

    // A server that asks for the relay's own.
    tls.client_ca_file = Some(ours.ca());
    server.options_mut().tls = Some(tls);
    server.restart().unwrap();
    is_tls(&refused(&options).await);
    options.tls.client = Some(strange.issue("relay"));
    is_tls(&refused(&options).await);
    options.tls.client = Some(ours.issue("relay"));
    assert!(
        JetStream::connect_when_there(&options)
            .await
            .unwrap()
            .is_connected()
    );
}

#[tokio::test]
async fn where_tls_is_required_nothing_is_sent_without_it() {
    let with = NatsOptions {
        user: Some(("relay".to_owned(), "secret".to_owned())),
        ..NatsOptions::default()
    };
    let Some(server) = server(with) else { return };
    let mut options = one(&server);
    options.credentials = auditrelay_store::jetstream::Credentials::User(
        "relay".to_owned(),
        "secret".to_owned().into(),
    );
    JetStream::connect_when_there(&options).await.unwrap();
    options.tls = Tls {
        required: true,
        ..Tls::default()
    };
    let error = refused(&options).await;
    assert!(
        matches!(
            error,
            JetStreamError::Tls { .. } | JetStreamError::Unreachable { .. }
        ),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("secret"));
}
