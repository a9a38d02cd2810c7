//! Servers whose users show a signed token (a `.creds` file), as operators of many accounts have them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

/// Keys of an operator and of one account, which has JetStream.
pub(crate) struct Operator {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        }
    }

    /// What the servers' configuration says of them.
    pub(crate) fn lines(&self) -> String {
        let operator = self.operator.public_key();
        let (account, system) = (self.account.public_key(), self.system.public_key());
        let of_operator = sign(
            &self.operator,
            &operator,
            json!({"type": "operator", "version": 2, "system_account": system}),
        );
        let of_account = |key: &str, storage: i64| {
            sign(
                &self.operator,
                key,
                json!({"type": "account", "version": 2, "limits": {
                    "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
                    "conn": -1, "leaf": -1, "mem_storage": storage, "disk_storage": storage, "streams": storage,
                    "consumer": storage}}),
            )
        };
        format!(
            "operator: {of_operator}\nresolver: MEMORY\nsystem_account: {system}\nresolver_preload {{\n  \
             {account}: {}\n  {system}: {}\n}}\n",
            of_account(&account, -1),
            of_account(&system, 0)
        )
    }

    /// A `.creds` file of a user of the account, and the user's seed, which is secret.
    pub(crate) fn user(&self) -> (String, String) {
        let user = KeyPair::new_user();
        let token = sign(
            &self.account,
            &user.public_key(),
            json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}),
        );
        let seed = user.seed().expect("it is a key of its own");
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        (file, seed)
    }
}

fn sign(by: &KeyPair, subject: &str, nats: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = part(json!({
        "jti": subject, "iat": 1_700_000_000, "iss": by.public_key(), "name": subject, "sub": subject, "nats": nats
    }));
    let signed = format!("{head}.{claims}");
    let signature =
        URL_SAFE_NO_PAD.encode(by.sign(signed.as_bytes()).expect("it is a key of its own"));
    format!("{signed}.{signature}")
}
