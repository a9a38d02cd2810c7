//! Secrets in commands and values: none is left, and the harmless is.

use proptest::prelude::*;

use super::*;

const SECRET: &str = "hunter2-S3CR3T";

fn masked(arguments: &[&str]) -> (String, bool) {
    let mut masker = Masker::default();
    let words: Vec<String> = arguments.iter().map(|one| masker.argument(one)).collect();
    (words.join(" "), masker.masked)
}

/// Each as the arguments of a command.
const WITH_SECRET: [&[&str]; 44] = [
    &["mysql", "-u", "root", "--password", "hunter2-S3CR3T"],
    &["mysql", "-u", "root", "--password=hunter2-S3CR3T"],
    &["mysql", "-uroot", "-phunter2-S3CR3T", "shop"],
    &["mysql", "-p", "hunter2-S3CR3T"],
    &["env", "DB_PASSWORD=hunter2-S3CR3T", "run"],
    &["sh", "-c", "export API_KEY=hunter2-S3CR3T; run"],
    &["sh", "-c", "mysql --password hunter2-S3CR3T -e 'select 1'"],
    &[
        "sh",
        "-c",
        "mysql --password \"my hunter2-S3CR3T x\" -e 'select 1'",
    ],
    &[
        "sh",
        "-c",
        "sh -c \"curl -H 'Authorization: Token hunter2-S3CR3T' x\"",
    ],
    &["sh", "-c", "export PASSWORD='a hunter2-S3CR3T b'"],
    &["sh", "-c", "export PASSWORD='never closed hunter2-S3CR3T"],
    &[
        "curl",
        "-H",
        "Authorization: Bearer hunter2-S3CR3T",
        "https://x",
    ],
    &["curl", "-H", "Authorization:Bearer hunter2-S3CR3T"],
    &["curl", "-H", "X-Api-Key: hunter2-S3CR3T"],
    &["curl", "-u", "admin:hunter2-S3CR3T", "https://x"],
    &["curl", "--user", "admin:hunter2-S3CR3T"],
    &["curl", "https://admin:hunter2-S3CR3T@x.example/y"],
    &["curl", "https://x/y?a=1&access_token=hunter2-S3CR3T&b=2"],
    &[
        "curl",
        "-d",
        "{\"user\":\"x\",\"password\":\"hunter2-S3CR3T\"}",
    ],
    &[
        "curl",
        "-d",
        "{\"user\": \"x\", \"password\": \"hunter2-S3CR3T\"}",
    ],
    &["psql", "postgres://app:hunter2-S3CR3T@db:5432/shop"],
    &["psql", "host=db password=hunter2-S3CR3T"],
    &[
        "psql",
        "-c",
        "ALTER USER app WITH PASSWORD 'hunter2-S3CR3T'",
    ],
    &[
        "mysql",
        "-e",
        "CREATE USER x IDENTIFIED BY 'hunter2-S3CR3T'",
    ],
    &["redis-cli", "-a", "hunter2-S3CR3T", "keys"],
    &["helm", "install", "--set", "db.password=hunter2-S3CR3T"],
    &[
        "kubectl",
        "create",
        "secret",
        "generic",
        "x",
        "--from-literal=foo=hunter2-S3CR3T",
    ],
    &["kubectl", "get", "pods", "--token", "hunter2-S3CR3T"],
    &["openssl", "x", "-passin", "pass:hunter2-S3CR3T"],
    &["sh", "-c", "echo password = hunter2-S3CR3T"],
    &["sh", "-c", "TOKEN=$(echo hunter2-S3CR3T) x"],
    &["sshpass", "-phunter2-S3CR3T", "ssh", "x"],
    &["echo", "ghp_hunter2-S3CR3T"],
    &["sh", "-c", "vault login token=hunter2-S3CR3T"],
    &["mysql", "-pPassword-hunter2-S3CR3T"],
    &["sh", "-c", "mysql -pMyPw1-hunter2-S3CR3T -e x"],
    &["x", "-passphrase", "hunter2-S3CR3T"],
    &["curl", "-uadmin:hunter2-S3CR3T", "https://x"],
    &["curl", "-sSu", "admin:hunter2-S3CR3T"],
    &["curl", "--user=admin:hunter2-S3CR3T"],
    &["redis-cli", "-ahunter2-S3CR3T", "keys"],
    &["python", "-c", "os.environ['TOKEN']='hunter2-S3CR3T'"],
    &[
        "sh",
        "-c",
        "echo '-----BEGIN PRIVATE KEY-----\nhunter2-S3CR3T\n' > x",
    ],
    &["echo", "-----BEGIN RSA PRIVATE KEY----- hunter2-S3CR3T"],
];

#[test]
fn what_is_pointed_to_as_a_secret_is_masked() {
    for arguments in WITH_SECRET {
        let (text, was_masked) = masked(arguments);
        assert!(was_masked, "{text}");
        assert!(!text.contains("S3CR3T"), "{text}");
    }
}

#[test]
fn what_nobody_would_say_aloud_is_masked() {
    for secret in [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c",
        "xoxb-1234-5678-abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "aHR0cHM6Ly9leGFtcGxlLmNvbS9zZWNyZXQ=",
        "x=9f86d081884c7d659a2feaa0c55ad015",
    ] {
        let (text, _) = masked(&["echo", secret]);
        assert!(text.ends_with(MASK), "{text}");
    }
}

#[test]
fn a_sentence_keeps_all_but_its_tokens() {
    for (text, told) in [
        (
            "Pod \"x\" is invalid: spec.env[0].value: Invalid value: \"ghp_S3CR3T\": too long",
            "Pod \"x\" is invalid: spec.env[0].value: Invalid value: \"[masked]\": too long",
        ),
        ("a -----BEGIN PRIVATE KEY----- S3CR3T", "a [masked]"),
        ("secrets \"db\" not found", "secrets \"db\" not found"),
        ("eyJhbGciOiJIUzI1NiJ9.e.x", "[masked]"),
    ] {
        assert_eq!(without_tokens(text), told);
    }
}

#[test]
fn the_harmless_stays_readable() {
    for arguments in [
        &["sh", "-c", "cat /etc/passwd | grep root && ls -la /var/run"] as &[&str],
        &["find", "/", "-perm", "-4000", "-print"],
        &[
            "kubectl",
            "get",
            "pods",
            "-n",
            "payments",
            "api-7c9d8f6b5-x2x9z",
        ],
        &["nginx", "-g", "daemon off;"],
        &["curl", "http://169.254.169.254/latest/meta-data/iam"],
        &["java", "-Xmx512m", "-jar", "/app/service-1.2.3.jar"],
        &["ls", "/var/run/secrets/kubernetes.io/serviceaccount"],
        &[
            "image",
            "nginx@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ],
    ] {
        assert_eq!(masked(arguments), (arguments.join(" "), false));
    }
    for name in [
        "replicas",
        "image",
        "author",
        "monkey",
        "keyboard",
        "namespace",
        "compass",
    ] {
        assert!(!is_secret_name(name), "{name}");
    }
}

proptest! {
    /// Whatever stands around it.
    #[test]
    fn a_flags_secret_never_shows(before in any::<String>(), after in any::<String>()) {
        let mut masker = Masker::default();
        masker.argument(&before);
        masker = Masker::default();
        let flag = masker.argument("--password");
        let secret = masker.argument(&format!("{SECRET}{after}"));
        prop_assert_eq!((flag.as_str(), secret.as_str()), ("--password", MASK));
        masker.argument(&after);
    }
}
