//! `auditrelay init`, by the real binary: what it writes, and that what it writes works.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod connect;
mod files;
mod guide;
mod platforms;
mod policy;
mod rotation;
mod told;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Runs `init` for a URL into the folder `set`, which succeeds.
pub(crate) fn init(folder: &Path, url: &str, more: &[&str]) -> String {
    let (code, stdout, stderr) = try_init(folder, url, more);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

/// The same, whatever comes of it.
pub(crate) fn try_init(folder: &Path, url: &str, more: &[&str]) -> (i32, String, String) {
    let mut args = vec!["init", "--url", url];
    if !more.contains(&"--out") {
        args.extend(["--out", "set"]);
    }
    args.extend(more);
    support::run(folder, &[], &args)
}

pub(crate) fn mode(path: &Path) -> u32 {
    let meta = fs::symlink_metadata(path).expect("it is there");
    meta.permissions().mode() & 0o7777
}

/// YAML as what it says.
pub(crate) fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    let source = config::File::from_str(text, config::FileFormat::Yaml);
    let read = config::Config::builder().add_source(source).build();
    read.and_then(config::Config::try_deserialize)
        .expect("YAML of this form")
}

pub(crate) fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
