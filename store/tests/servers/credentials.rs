//! Who the relay says it is: what is right connects, what is wrong is refused, and nothing secret is in the words.

use std::fs;

use auditrelay_loadtest::nats::NatsOptions;
use auditrelay_store::jetstream::{Credentials, JetStream, JetStreamError};
use secrecy::SecretString;

use crate::{jwt::Operator, one, refused, server, until};

const SECRET: &str = "correct-horse-battery";
const WRONG: &str = "staple-of-another";

fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

/// It is a refusal, no secret is in it in any form, and it names the servers.
fn is_unauthorized(error: &JetStreamError) {
    assert!(
        matches!(error, JetStreamError::Unauthorized { .. }),
        "{error:?}"
    );
    assert!(!error.is_of_the_moment());
    let words = format!("{error} {error:?}");
    assert!(!words.contains(SECRET) && !words.contains(WRONG), "{words}");
    assert!(words.contains("127.0.0.1:"), "{words}");
}

#[tokio::test]
async fn a_user_with_a_password() {
    let with = NatsOptions {
        user: Some(("relay".to_owned(), SECRET.to_owned())),
        ..NatsOptions::default()
    };
    let Some(server) = server(with) else { return };
    let mut options = one(&server);
    is_unauthorized(&refused(&options).await);
    options.credentials = Credentials::User("relay".to_owned(), secret(WRONG));
    is_unauthorized(&refused(&options).await);
    options.credentials = Credentials::User("relay".to_owned(), secret(SECRET));
    assert!(
        JetStream::connect_when_there(&options)
            .await
            .unwrap()
            .is_connected()
    );
    assert!(!format!("{options:?}").contains(SECRET));

    // An address that holds one could be quoted by anybody.
    options.servers = vec![
        server
            .address()
            .replace("//", &format!("//relay:{SECRET}@")),
    ];
    let error = refused(&options).await;
    assert!(matches!(error, JetStreamError::Options(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains(SECRET));
    options.servers = vec![server.address().replace("//", &format!("//{SECRET}@"))];
    let error = refused(&options).await;
    assert!(matches!(error, JetStreamError::Options(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains(SECRET));
}

#[tokio::test]
async fn a_token() {
    let with = NatsOptions {
        token: Some(SECRET.to_owned()),
        ..NatsOptions::default()
    };
    let Some(server) = server(with) else { return };
    let mut options = one(&server);
    options.credentials = Credentials::Token(secret(WRONG));
    is_unauthorized(&refused(&options).await);
    options.credentials = Credentials::Token(secret(SECRET));
    assert!(
        JetStream::connect_when_there(&options)
            .await
            .unwrap()
            .is_connected()
    );
}

#[tokio::test]
async fn a_file_of_credentials() {
    let operator = Operator::new();
    let with = NatsOptions {
        lines: operator.lines(),
        ..NatsOptions::default()
    };
    let Some(mut server) = server(with) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.creds");
    let mut options = one(&server);
    options.credentials = Credentials::File(path.clone());
    let error = refused(&options).await;
    assert!(matches!(error, JetStreamError::File { .. }), "{error:?}");
    assert!(
        !error.is_of_the_moment() && error.to_string().contains("relay.creds"),
        "{error}"
    );

    // A seed that was mangled: what is left of it is no less secret.
    let (file, seed) = operator.user();
    fs::write(&path, file.replace(&seed, &seed.replace('A', "B"))).unwrap();
    let error = refused(&options).await;
    assert!(matches!(error, JetStreamError::File { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains(&seed.replace('A', "B")));

    let (strange, strange_seed) = Operator::new().user();
    fs::write(&path, strange).unwrap();
    let error = refused(&options).await;
    is_unauthorized(&error);
    assert!(!format!("{error} {error:?}").contains(&strange_seed));

    fs::write(&path, file).unwrap();
    let relay = JetStream::connect_when_there(&options).await.unwrap();
    assert!(relay.is_connected());

    // A file that is written anew counts from the next connection on.
    let other = Operator::new();
    server.options_mut().lines = other.lines();
    server.kill();
    // Streams of an account that is no more would keep it from being ready.
    fs::remove_dir_all(server.store_dir()).unwrap();
    server.restart().unwrap();
    until("the server has refused it", async || {
        !relay.is_connected() && server.log().contains("authentication error")
    })
    .await;
    fs::write(&path, other.user().0).unwrap();
    until("it is connected again", async || relay.is_connected()).await;
}

/// A relay that runs is not ended by a password that is being changed.
#[tokio::test]
async fn a_password_that_changes_while_the_relay_runs() {
    let user = |password: &str| Some(("relay".to_owned(), password.to_owned()));
    let with = NatsOptions {
        user: user(SECRET),
        ..NatsOptions::default()
    };
    let Some(mut server) = server(with) else {
        return;
    };
    let mut options = one(&server);
    options.credentials = Credentials::User("relay".to_owned(), secret(SECRET));
    let relay = JetStream::connect_when_there(&options).await.unwrap();
    server.options_mut().user = user(WRONG);
    server.restart().unwrap();
    until("the server has refused it", async || {
        !relay.is_connected() && server.log().contains("authentication error")
    })
    .await;
    server.options_mut().user = user(SECRET);
    server.restart().unwrap();
    until("it is connected again", async || relay.is_connected()).await;
}
