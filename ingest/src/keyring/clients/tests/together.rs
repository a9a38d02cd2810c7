//! Several clients, whose cluster a request is for, and what nobody should be let in with.

use proptest::prelude::*;

use super::*;

#[test]
fn any_entry_will_do() {
    let door = door(&[
        Asks {
            name: "basic",
            password: PASSWORD,
            ..NOTHING
        },
        Asks {
            name: "token",
            token: TOKEN,
            ..NOTHING
        },
        Asks {
            name: "both",
            certificate: "strict",
            token: OTHER,
            ..NOTHING
        },
        Asks {
            name: "certificate",
            certificate: "prod",
            ..NOTHING
        },
    ]);
    let right = basic(&format!("me:{PASSWORD}"));
    door.expect("", &right, Ok("basic home"));
    door.expect("", &bearer(TOKEN), Ok("token home"));
    door.expect("prod", "", Ok("certificate home"));
    door.expect("prod", &bearer(TOKEN), Ok("certificate home"));
    door.expect("strict", &bearer(OTHER), Ok("both home"));
    door.expect("strict", &bearer(TOKEN), Ok("token home"));
    door.expect("", &bearer(OTHER), Err(Reason::CredentialsIncomplete));
    door.expect("strict", "", Err(Reason::CredentialsIncomplete));
    let refusal = door.admit("", "", "").unwrap_err();
    assert_eq!(refusal.challenges, [BEARER, BASIC]);
    assert!(
        refusal.message.ends_with(
            "clients of this relay show a client certificate and a bearer token, or a client certificate, \
             or a bearer token, or user and password"
        ),
        "{refusal:?}"
    );
}

#[test]
fn a_401_asks_for_what_would_do() {
    let challenges = |asks: Asks| door(&[asks]).admit("", "", "").unwrap_err().challenges;
    assert_eq!(
        challenges(Asks {
            token: TOKEN,
            ..NOTHING
        }),
        [BEARER]
    );
    assert_eq!(
        challenges(Asks {
            password: PASSWORD,
            ..NOTHING
        }),
        [BASIC]
    );
    assert_eq!(
        challenges(Asks {
            certificate: "prod",
            ..NOTHING
        }),
        [""; 0]
    );
}

#[test]
fn certificate_then_token_then_path_then_configuration_name_the_cluster() {
    let door = door(&[
        Asks {
            name: "any",
            token: TOKEN,
            ..NOTHING
        },
        Asks {
            name: "token",
            token: OTHER,
            cluster: "t",
            ..NOTHING
        },
        Asks {
            name: "one",
            certificate: "two-clusters",
            cluster: "c1",
            ..NOTHING
        },
        Asks {
            name: "two",
            certificate: "two-clusters",
            cluster: "c2",
            ..NOTHING
        },
    ]);
    let cases = [
        // A client without a cluster: the path, else the configuration.
        ("", bearer(TOKEN), "", Ok("any home")),
        ("", bearer(TOKEN), "p", Ok("any p")),
        // A client with a cluster: its own, whatever is configured, and no other.
        ("", bearer(OTHER), "", Ok("token t")),
        ("", bearer(OTHER), "t", Ok("token t")),
        ("", bearer(OTHER), "c1", Err(Reason::WrongCluster)),
        ("", bearer(OTHER), "home", Err(Reason::WrongCluster)),
        // A cluster that a client has as its own is nobody else's.
        ("", bearer(TOKEN), "t", Err(Reason::WrongCluster)),
        ("", bearer(TOKEN), "c2", Err(Reason::WrongCluster)),
        // One certificate for several: the path tells which, the first without one.
        ("two-clusters", String::new(), "", Ok("one c1")),
        ("two-clusters", String::new(), "c1", Ok("one c1")),
        ("two-clusters", String::new(), "c2", Ok("two c2")),
        // A token beside a certificate claims nothing: the certificate decides.
        (
            "two-clusters",
            bearer(TOKEN),
            "p",
            Err(Reason::WrongCluster),
        ),
        (
            "two-clusters",
            bearer(OTHER),
            "t",
            Err(Reason::WrongCluster),
        ),
        ("two-clusters", bearer(OTHER), "", Ok("one c1")),
    ];
    for (certificate, authorization, claimed, expected) in cases {
        let admitted = door.admit(certificate, &authorization, claimed);
        let admitted = admitted.map_err(|refusal| refusal.reason);
        let admitted = admitted.as_deref().map_err(|reason| *reason);
        assert_eq!(
            admitted, expected,
            "{certificate} {authorization} {claimed}"
        );
    }
}

#[test]
fn also_without_a_path_nobody_posts_for_the_cluster_of_another() {
    // `home` is the relay's own cluster, and that of the second client.
    let door = door(&[
        Asks {
            name: "any",
            token: TOKEN,
            ..NOTHING
        },
        Asks {
            name: "home",
            token: OTHER,
            cluster: "home",
            ..NOTHING
        },
    ]);
    door.expect("", &bearer(OTHER), Ok("home home"));
    door.expect("", &bearer(TOKEN), Err(Reason::WrongCluster));
    let told = |claimed| {
        let refusal = door.admit("", &bearer(TOKEN), claimed).unwrap_err();
        refusal.message
    };
    assert!(told("").starts_with("the path names no cluster"));
    assert!(told("home").starts_with("the path names a cluster that this client does not"));
    assert_eq!(door.admit("", &bearer(TOKEN), "p").unwrap(), "any p");
}

#[test]
fn of_entries_that_one_certificate_satisfies_one_may_have_no_cluster() {
    let door = door(&[
        Asks {
            name: "any",
            certificate: "prod",
            ..NOTHING
        },
        Asks {
            name: "own",
            certificate: "prod",
            cluster: "c",
            ..NOTHING
        },
    ]);
    assert_eq!(door.admit("prod", "", "c").unwrap(), "own c");
    assert_eq!(door.admit("prod", "", "p").unwrap(), "any p");
}

#[test]
fn without_entries_nobody_comes_in_by_this_way() {
    let door = door(&[]);
    assert!(door.clients.are_everybody());
    door.expect("any", &bearer(TOKEN), Err(Reason::UnknownToken));
}

#[test]
fn an_entry_that_asks_for_nothing_lets_nobody_in() {
    let nothing = ClientConfig {
        name: "x".parse().unwrap(),
        cluster: None,
        certificate_names: Vec::new(),
        token_file: None,
        username: None,
        password_file: None,
    };
    let read = Secret::read(&nothing, 0, &Reading::of([]), &Hasher::new().unwrap());
    let error = read.err().unwrap();
    assert_eq!(error, "clients[0] asks for nothing: anybody would be it");
}

#[test]
fn what_is_odd_about_secrets_is_said_without_them() {
    let weak = door(&[Asks {
        token: "hunter2",
        ..NOTHING
    }]);
    let [readable, short] = &weak.oddities[..] else {
        panic!("{:?}", weak.oddities);
    };
    assert!(readable.contains("can be read by every user"), "{readable}");
    assert!(
        short.contains("a token in line 2 that is short enough"),
        "{short}"
    );
    let same = door(&[
        Asks {
            name: "a",
            token: TOKEN,
            ..NOTHING
        },
        Asks {
            name: "b",
            token: OTHER,
            ..NOTHING
        },
        Asks {
            name: "c",
            token: TOKEN,
            ..NOTHING
        },
    ]);
    let shared: Vec<_> = same
        .oddities
        .iter()
        .filter(|oddity| oddity.starts_with("clients a and c have a token in common"))
        .collect();
    assert_eq!(shared.len(), 1, "{:?}", same.oddities);
    assert!(!format!("{:?}", [weak.oddities, same.oddities]).contains("hunter2"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nobody_comes_in_with_anything_else(
        certificate in "(|expired|foreign|prod|[a-z]{1,4}( prod)?)",
        authorization in "(|Bearer |Basic |[ -~]{0,9})[ -~]{0,30}",
        claimed in "[a-z]{0,3}",
    ) {
        let door = door(&[Asks { certificate: "prod", token: TOKEN, cluster: "c", ..NOTHING }]);
        let refused = door.admit(&certificate, &authorization, &claimed).unwrap_err();
        prop_assert!([401, 403].contains(&refused.reason.status().as_u16()));
        let sent = authorization.split_once(' ').map_or("", |(_, rest)| rest.trim());
        prop_assert!(sent.len() < 8 || !refused.message.contains(sent));
    }
}
