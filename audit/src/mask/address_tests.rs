//! Addresses with secrets: none is left, the address stays one, and the harmless stays as it came.

use proptest::prelude::*;

use super::*;

const SECRET: &str = "hunter2-S3CR3T";

fn shown(address: &str) -> String {
    let masked = masked(address, Reader::Kubernetes);
    masked.map_or(address.to_owned(), |masked| masked.address)
}

#[test]
fn secrets_go_out_of_commands_and_queries_and_the_rest_stays() {
    for (query, told) in [
        (
            "command=mysql&command=-phunter2-S3CR3T&tty=true",
            "command=mysql&command=-p%5Bmasked%5D&tty=true",
        ),
        (
            "command=mysql&command=--password&command=hunter2-S3CR3T&stdin=true",
            "command=mysql&command=--password&command=%5Bmasked%5D&stdin=true",
        ),
        (
            "comm%61nd=env&command=DB_PASSWORD%3Dhunter2-S3CR3T",
            "comm%61nd=env&command=DB_PASSWORD%3D%5Bmasked%5D",
        ),
        (
            "command=%63url&command=-H&command=Authorization%3A+Bearer+hunter2-S3CR3T",
            "command=%63url&command=-H&command=Authorization%3A%20%5Bmasked%5D",
        ),
        (
            "a=1&access_token=hunter2-S3CR3T&b=2",
            "a=1&access_token=%5Bmasked%5D&b=2",
        ),
        (
            "X-Amz-Signature=hunter2-S3CR3T",
            "X-Amz-Signature=%5Bmasked%5D",
        ),
        (
            "sig=hunter2-S3CR3T&key=hunter2-S3CR3T",
            "sig=%5Bmasked%5D&key=%5Bmasked%5D",
        ),
        ("p%61ssword=hunter2-S3CR3T", "p%61ssword=%5Bmasked%5D"),
        (
            "to=https%3A%2F%2Fx%2F%3Ftoken%3Dhunter2-S3CR3T",
            "to=https%3A%2F%2Fx%2F%3Ftoken%3D%5Bmasked%5D",
        ),
        (
            "to=https%3A%2F%2Fx%2F%3Fq%3Da%2526token%253Dhunter2-S3CR3T",
            "to=%5Bmasked%5D",
        ),
        ("ghp_hunter2-S3CR3T=1", "%5Bmasked%5D"),
        ("ghp_hunter2-S3CR3T", "%5Bmasked%5D"),
    ] {
        assert_eq!(shown(&format!("/p?{query}")), format!("/p?{told}"));
    }
}

#[test]
fn what_kubernetes_itself_asks_stays() {
    for query in [
        "watch=true&resourceVersion=12345&timeoutSeconds=431&allowWatchBookmarks=true",
        "limit=500&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTIzNDU2LCJzdGFydCI6ImRlbW8vYSJ9",
        "labelSelector=token%3Dx%2Capp%20in%20(a%2Cb)&fieldSelector=type%3Dkubernetes.io%2Fservice-account-token",
        "fieldManager=kubectl-client-side-apply&fieldValidation=Strict&dryRun=All",
        "command=sh&command=-c&command=cat%20%2Fetc%2Fpasswd%20%7C%20wc&container=app&stdout=true",
        "command=date&command=%2B%25Y%25m%25d",
        "",
        "&&=",
        "timeout=30s",
    ] {
        let address = format!("/api/v1/namespaces/x/pods?{query}");
        assert_eq!(masked(&address, Reader::Kubernetes), None, "{address}");
    }
    let name = "/api/v1/namespaces/x/pods/9f86d081884c7d659a2feaa0c55ad015";
    assert_eq!(masked(name, Reader::Kubernetes), None);
}

#[test]
fn of_a_workloads_address_the_path_is_looked_at_too() {
    let path = "/api/v1/namespaces/x/services/s/proxy/hook/9f86d081884c7d659a2feaa0c55ad015";
    let hidden =
        masked(&format!("{path}?continue=eyJ2IjoibWV0YSJ9"), Reader::Other).expect("masked");
    assert_eq!(
        hidden.address,
        "/api/v1/namespaces/x/services/s/proxy/hook/%5Bmasked%5D?continue=%5Bmasked%5D"
    );
    let node = "/api/v1/nodes/9f86d081884c7d659a2feaa0c55ad015/proxy/metrics/cadvisor-and-more";
    assert_eq!(masked(node, Reader::Other), None);
    assert_eq!(
        hidden.lost,
        ["9f86d081884c7d659a2feaa0c55ad015", "eyJ2IjoibWV0YSJ9"]
    );
}

#[test]
fn what_was_lost_is_known() {
    let lost = |query: &str| {
        masked(&format!("/p?{query}"), Reader::Kubernetes)
            .expect("masked")
            .lost
    };
    assert_eq!(
        lost("command=x&command=-p&command=hunter2+x"),
        ["hunter2 x"]
    );
    assert_eq!(
        lost("command=sh&command=A_TOKEN%3Dhunter2%20psql"),
        ["hunter2"]
    );
    assert_eq!(lost("token=hunter2&pin=1"), ["hunter2", "1"]);
}

#[test]
fn however_long_it_is_it_is_masked_in_time() {
    let long = format!(
        "/p?command={}&token={}",
        "a%20b%3D".repeat(100_000),
        "x".repeat(1 << 20)
    );
    let hidden = masked(&long, Reader::Kubernetes).expect("masked");
    assert_eq!(hidden.address, "/p?command=%5Bmasked%5D&token=%5Bmasked%5D");
    let many = format!("/p?{}", "command=-p&command=x&".repeat(20_000));
    assert!(masked(&many, Reader::Kubernetes).is_some());
}

proptest! {
    /// Whatever stands around it, in whichever encoding.
    #[test]
    fn the_value_of_a_secret_name_never_stays(
        before in "[a-z=&%+0-9]{0,20}",
        name in prop::sample::select(vec!["token", "access_token", "pass%77ord", "Api-Key", "sig"]),
        after in "[ -~]{0,20}",
    ) {
        let every: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for secret in [SECRET, &every] {
            let address = format!("/p?{before}&{name}={secret}{after}");
            let hidden = shown(&address);
            let plain = percent_decode_str(&hidden).decode_utf8_lossy().into_owned();
            prop_assert!(!plain.contains(SECRET), "{}", hidden);
        }
    }

    #[test]
    fn masking_twice_is_masking_once(
        arguments in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "-p", "--password", "-u", "a:b", "TOKEN=$(x y)", "identified by 'x'", "bearer",
                    "{\"password\":\"x\",\"a\":1}", "password = x", "https://a:b@c/d?key=1&e=2", "'a", "\"", "redis-cli",
                ]).prop_map(str::to_owned),
                "[ -~]{0,12}",
            ],
            0..6,
        ),
        name in prop::sample::select(vec!["command", "q", "token"]),
    ) {
        let pairs = arguments.iter().map(|one| format!("{name}={}", encoded(one)));
        let address = format!("/p?{}", pairs.collect::<Vec<_>>().join("&"));
        for reader in [Reader::Kubernetes, Reader::Other] {
            if let Some(once) = masked(&address, reader) {
                prop_assert_eq!(masked(&once.address, reader), None, "{} of {}", once.address, address);
            }
        }
    }
}
