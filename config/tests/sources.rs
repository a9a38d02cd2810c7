//! Which source wins, and files that cannot be used.

mod common;

use std::path::{Path, PathBuf};

use auditrelay_config::{Overrides, data_dir_of, load};
use common::{Case, PREVIEW_NOTE, destination};

#[test]
fn the_defaults() {
    let loaded = Case::bare().loaded();
    let config = &loaded.config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.data_dir, PathBuf::from("./auditrelay-data"));
    assert_eq!(
        config.dedup_key_file(),
        PathBuf::from("./auditrelay-data/dedup.key")
    );
    assert_eq!(config.cluster.as_str(), "default");
    assert_eq!(config.default_channel.as_str(), "default");
    assert_eq!(config.slack.api_url.as_str(), "https://slack.com/api/");
    assert_eq!(config.ingest.ack_timeout().as_millis(), 900);
    assert_eq!(config.dedup.window().as_secs(), 900);
    assert_eq!(config.channels.len(), 1);
    assert_eq!(destination(config, "default"), "preview");
    assert_eq!(destination(config, "other"), "nowhere");
    assert_eq!(loaded.notes, [PREVIEW_NOTE]);
}

#[test]
fn a_file_may_be_empty_or_hold_nulls() {
    let bare = Case::bare().loaded();
    for text in [
        "",
        "\n",
        "# a comment\n",
        "---\n",
        "null\n",
        "\u{feff}",
        "slack:\nqueue: null\n",
    ] {
        assert_eq!(Case::file(text).loaded(), bare, "{text:?}");
    }
    let nulls = "listen: ~\ningest: {connections_max: null}\nchannels: null\nroutes: null\n\
                 slack: {token: null, token_file: null}\n";
    assert_eq!(Case::file(nulls).loaded(), bare);
}

#[test]
fn a_stronger_source_wins() {
    let text = "listen: 127.0.0.1:1\nslack: {messages_per_minute: 10, timeout_seconds: 11}\n";
    let file = || Case::file(text);
    assert_eq!(file().loaded().config.listen.port(), 1);
    let with_env = || {
        file()
            .env("AUDITRELAY__LISTEN", "127.0.0.1:2")
            .env("auditrelay__Slack__messages_Per_minute", "20")
    };
    let config = with_env().loaded().config;
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.slack.messages_per_minute.get(), 20);
    assert_eq!(
        config.slack.timeout_seconds.get(),
        11,
        "what the environment leaves is the file's"
    );
    let overrides = Overrides {
        listen: Some("0.0.0.0:3".parse().unwrap()),
        allow_plain_http: true,
        data_dir: Some("/d".into()),
        admin_listen: Some("[::1]:0".parse().unwrap()),
    };
    let config = with_env()
        .env("AUDITRELAY__DATA_DIR", "/e")
        .overrides(overrides)
        .loaded()
        .config;
    assert_eq!(config.listen.to_string(), "0.0.0.0:3");
    assert!(config.allow_plain_http);
    assert_eq!(config.data_dir, PathBuf::from("/d"));
    assert_eq!(config.admin_listen.to_string(), "[::1]:0");
    let kept = Case::file("allow_plain_http: true")
        .overrides(Overrides::default())
        .loaded();
    assert!(
        kept.config.allow_plain_http,
        "a flag not given sets nothing"
    );
}

#[test]
fn refusals_of_the_command_line() {
    let listen = Overrides {
        listen: Some("10.0.0.1:80".parse().unwrap()),
        ..Overrides::default()
    };
    assert_eq!(
        Case::bare().overrides(listen).line(),
        "flag --listen: listen: found 10.0.0.1:80, expected a loopback address: without \
         tls.certificate_file events would cross the network unencrypted (allow_plain_http: true allows it)"
    );
    let admin = Overrides {
        admin_listen: Some("[::]:80".parse().unwrap()),
        ..Overrides::default()
    };
    assert_eq!(
        Case::bare().overrides(admin).line(),
        "flag --admin-listen: admin_listen: found [::]:80, which other machines can reach: expected a \
         loopback address, or admin_token_file with the bearer tokens that are asked for there"
    );
    let folder = Overrides {
        data_dir: Some("".into()),
        ..Overrides::default()
    };
    assert_eq!(
        Case::bare().overrides(folder).line(),
        "flag --data-dir: data_dir: found string \"\", expected a path"
    );
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let path = std::ffi::OsString::from_vec(b"/a\xff".to_vec());
    let overrides = Overrides {
        data_dir: Some(path.into()),
        ..Overrides::default()
    };
    assert_eq!(
        Case::bare().overrides(overrides).line(),
        "flag --data-dir: data_dir: found \"/a\\xFF\", expected a path in UTF-8"
    );
}

#[test]
fn a_missing_file_a_folder_and_undue_content_are_refused() {
    let case = Case::bare();
    let load_path = |path: PathBuf| {
        let error = load(Some(&path), [], Overrides::default()).expect_err("it is refused");
        assert_eq!((error.origin(), error.key()), (path.to_str().unwrap(), ""));
        error
            .to_string()
            .replace(&format!("{}: ", path.display()), "")
    };
    assert_eq!(
        load_path(case.folder.path().join("none.yaml")),
        "cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(
        load_path(case.folder.path().to_owned()),
        "cannot be read: Is a directory (os error 21)"
    );
    assert_eq!(
        load_path(case.write("b", b"a: 1\nb: \xff")),
        "line 2: is not UTF-8"
    );
    assert_eq!(
        load_path(case.write("c", "#".repeat(1 << 20) + "#")),
        "is longer than 1048576 bytes"
    );
}

#[test]
fn the_data_directory_is_found_in_a_file_that_is_wrong() {
    let none: [(String, String); 0] = [];
    let of = |text: &str| {
        let case = Case::bare();
        let file = case.write("a.yaml", text);
        data_dir_of(Some(&file), none.clone())
    };
    assert_eq!(of("data_dir: /a\nroutes: [{nam: x}]"), Path::new("/a"));
    for unsaid in ["routes: [{nam: x}]", "data_dir: [", "data_dir: 3", ""] {
        assert_eq!(of(unsaid), Path::new("./auditrelay-data"), "{unsaid}");
    }
    let set = |value: &str| [("AUDITRELAY__DATA_DIR".to_owned(), value.to_owned())];
    let case = Case::bare();
    let file = case.write("a.yaml", "data_dir: /a\nchannels: 3");
    assert_eq!(data_dir_of(Some(&file), set("/b")), Path::new("/b"));
    assert_eq!(data_dir_of(Some(&file), set("")), Path::new("/a"));
    assert_eq!(data_dir_of(None, none), Path::new("./auditrelay-data"));
}
