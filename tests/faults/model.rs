//! The power-loss model itself: what is lost of what a shell did.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path, process::Command};

use crate::{
    shim::{Bench, Disk},
    undo::Loss,
};

/// Every file with what is in it, every folder with none; by path from the root.
pub fn tree(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    fn walk(root: &Path, path: &Path, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
        for entry in fs::read_dir(path).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below").display();
            if path.is_dir() {
                found.insert(name.to_string(), None);
                walk(root, &path, found);
            } else {
                let content = fs::read(&path).expect("a file");
                found.insert(name.to_string(), Some(content));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// Runs a script inside the disk's folder. Each program of it continues the journal.
fn shell(bench: &Bench, disk: Disk, script: &str) -> bool {
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(bench.disk())
        .envs(bench.env(disk))
        .stderr(std::process::Stdio::null())
        .status();
    status.expect("a shell").success()
}

/// The names and contents that a loss of everything unsynced leaves.
fn left_by(disk: Disk, script: &str) -> Option<Vec<(String, String)>> {
    let bench = Bench::new()?;
    assert!(shell(&bench, disk, script), "{script}");
    bench.lose_power(Loss::All);
    let text = |bytes: Option<Vec<u8>>| {
        bytes.map_or("/".to_owned(), |bytes| {
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let found = tree(&bench.disk()).into_iter();
    Some(found.map(|(name, content)| (name, text(content))).collect())
}

#[test]
fn what_no_sync_covered_is_lost_and_what_one_covered_stays() {
    // "old" stands for a file that is durable.
    for (script, left) in [
        ("printf x > a", &[][..]),
        ("printf x > a; sync a", &[]),
        ("printf x > a; sync .", &[("a", "")]),
        ("printf x > a; sync a; sync .", &[("a", "x")]),
        ("printf x > a; sync -d a; sync .", &[("a", "x")]),
        ("sync .; printf x > a", &[]),
        // Behind what was synced.
        ("old; printf more >> a", &[("a", "old")]),
        ("old; printf longer > a", &[("a", "old")]),
        ("old; printf n 1<> a", &[("a", "old")]),
        ("old; printf n 1<> a; sync a", &[("a", "nld")]),
        ("old; truncate -s 1 a", &[("a", "old")]),
        ("old; truncate -s 1 a; sync a", &[("a", "o")]),
        ("old; truncate -s 9 a", &[("a", "old")]),
        (
            "old; truncate -s 1 a; printf x >> a; truncate -s 9 a; printf y >> a",
            &[("a", "old")],
        ),
        // Names.
        ("old; rm a", &[("a", "old")]),
        ("old; rm a; sync .", &[]),
        ("old; rm a; printf new > a", &[("a", "old")]),
        ("old; mv a b", &[("a", "old")]),
        ("old; mv a b; sync .", &[("b", "old")]),
        ("old; mv a b; printf x >> b; sync b", &[("a", "oldx")]),
        ("old; printf new > b; sync b; mv b a", &[("a", "old")]),
        ("old; printf new > b; mv b a; sync .", &[("a", "")]),
        (
            "old; printf new > b; sync b; mv b a; sync .",
            &[("a", "new")],
        ),
        ("old; ln a b", &[("a", "old")]),
        // Folders, which may be renamed.
        ("old; mkdir d; printf x > d/x; sync d/x d", &[("a", "old")]),
        (
            "old; mkdir d; printf x > d/x; sync d/x .",
            &[("a", "old"), ("d", "/")],
        ),
        (
            "old; mkdir d; printf x > d/x; sync d/x d; mv d e; sync .",
            &[("a", "old"), ("e", "/"), ("e/x", "x")],
        ),
        (
            "old; mkdir d; sync .; printf x > d/x; mv d e",
            &[("a", "old"), ("d", "/")],
        ),
        ("old; mkdir d; sync .; rmdir d", &[("a", "old"), ("d", "/")]),
        (
            "old; mkdir d; printf x > d/x; sync . d d/x; rm -r d",
            &[("a", "old"), ("d", "/"), ("d/x", "x")],
        ),
    ] {
        let whole = script.replacen("old;", "printf old > a; sync a; sync .;", 1);
        let Some(found) = left_by(Disk::Honest, &whole) else {
            return;
        };
        let left: Vec<(String, String)> = left
            .iter()
            .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
            .collect();
        assert_eq!(found, left, "{whole}");
    }
}

#[test]
fn syncs_that_are_ignored_cover_nothing() {
    for (ignored, left) in [
        ("fdatasync", &[("a", ""), ("b", "x")][..]),
        ("folders", &[]),
        ("all", &[]),
    ] {
        let script = "printf x > a; sync -d a; printf x > b; sync b; sync .";
        let Some(found) = left_by(Disk::Ignores(ignored), script) else {
            return;
        };
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_str()))
            .collect();
        assert_eq!(found, left, "{ignored}");
    }
}

#[test]
fn of_what_was_not_synced_any_part_may_be_there() {
    let Some(bench) = Bench::new() else { return };
    let mut rng = fastrand::Rng::with_seed(4);
    let (mut names, mut contents) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..60 {
        let script = "printf %8192s a > a; sync a; sync .
            printf %16384s b >> a; printf x > b; printf y > c";
        assert!(shell(&bench, Disk::Honest, script));
        bench.lose_power(Loss::Part(&mut rng));
        let left = tree(&bench.disk());
        let content = left["a"].clone().expect("a file");
        assert_eq!(content[..8_192].trim_ascii_start(), b"a", "what was synced");
        // Whether there are bytes that arrived, and bytes that did not.
        let kinds = [0, b' '].map(|byte| content[8_192..].contains(&byte));
        *contents.entry((content.len(), kinds)).or_insert(0) += 1;
        *names
            .entry((left.contains_key("b"), left.contains_key("c")))
            .or_insert(0) += 1;
        fs::remove_dir_all(bench.disk()).expect("removed");
        fs::create_dir(bench.disk()).expect("made");
    }
    assert_eq!(names.len(), 4, "{names:?}");
    // Nothing, all of it, holes, and lengths between.
    assert!(
        contents.contains_key(&(8_192, [false, false])),
        "{contents:?}"
    );
    assert!(
        contents.contains_key(&(24_576, [false, true])),
        "{contents:?}"
    );
    assert!(
        contents.contains_key(&(24_576, [true, true])),
        "{contents:?}"
    );
    assert!(contents.len() > 5, "{contents:?}");
}

#[test]
fn a_failing_disk_fails_what_it_should_and_nothing_else() {
    for (fault, fails, works) in [
        (
            "enospc",
            "printf x >> a; printf x > b; mkdir d",
            "cat a; sync a; rm a",
        ),
        (
            "eio-write",
            "printf x >> a; truncate -s 1 a",
            "cat a; sync a; mkdir d; rm a",
        ),
        (
            "eio-sync",
            "sync a; sync -d a; sync .",
            "printf x >> a; printf x > b; rm a",
        ),
    ] {
        let Some(bench) = Bench::new() else { return };
        let disk = Disk::Fails(fault, 0);
        assert!(shell(&bench, disk, "printf old > a; sync a"));
        assert_eq!(bench.failed_at(), None);
        bench.fail(true);
        for script in fails.split("; ") {
            assert!(!shell(&bench, disk, script), "{fault}: {script}");
        }
        assert!(bench.failed_at().is_some(), "{fault}");
        assert!(shell(&bench, disk, works), "{fault}: {works}");
        bench.fail(false);
        assert!(
            shell(&bench, disk, "printf x > a; sync a; truncate -s 0 a"),
            "{fault}"
        );
    }
}

#[test]
fn a_report_counts_and_inodes_stay_unique() {
    let Some(bench) = Bench::new() else { return };
    assert!(shell(
        &bench,
        Disk::Honest,
        "printf x > a; sync a; rm a; printf y > a"
    ));
    let inode = fs::metadata(bench.disk().join("a")).expect("a file").ino();
    let kept = fs::metadata(bench.journal().join("kept/1")).expect("it is kept");
    assert_ne!(inode, kept.ino());
    let report = bench.lose_power(Loss::All);
    // Made, written, removed, made, written; the first write was synced.
    let counts = (report.changes, report.syncs, report.unsynced, report.undone);
    assert_eq!(counts, (5, 1, 4, 4));
}
