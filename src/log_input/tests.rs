//! Files, folders and forms that events are read from.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;

fn event(second: u32, name: &str) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"{name}","stage":"ResponseComplete","verb":"get","user":{{"username":"alice"}},"stageTimestamp":"2026-11-21T03:15:{second:02}.000000Z"}}"#
    )
}

fn names(paths: &[PathBuf]) -> (Vec<String>, Totals) {
    let mut names = Vec::new();
    let totals = read(paths, &Progress::new("reading"), |_, envelope| {
        names.push(envelope.audit_id.as_str().to_owned());
        Ok(())
    });
    (names, totals.expect("readable"))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).expect("memory");
    packed.finish().expect("memory")
}

#[test]
fn a_folder_is_read_in_the_order_of_time_whatever_its_files_are_called_and_packed_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("disk");
    put(
        "audit.log",
        format!("{}\n{}\n", event(30, "e"), event(31, "f")).as_bytes(),
    );
    put("audit.log.1", &gzip(&format!("{}\n", event(20, "d"))));
    let packed = zstd::encode_all(event(10, "c").as_bytes(), 1).expect("memory");
    put("z-oldest.zst", &packed);
    put("notes.txt", b"nothing of interest\n");
    put("empty", b"");
    put(".hidden", event(1, "never").as_bytes());
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{},{}]}}"#,
        event(1, "a"),
        event(2, "b")
    );
    put("body.json", list.as_bytes());
    let (names, totals) = names(&[folder.path().to_owned()]);
    assert_eq!(names, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!((totals.files, totals.events, totals.unreadable), (4, 6, 0));
    let passed: Vec<bool> = ["empty", "notes.txt"]
        .iter()
        .zip(&totals.passed_over)
        .map(|(name, told)| told.ends_with(name))
        .collect();
    assert_eq!(passed, [true, true], "{totals:?}");
}

#[test]
fn what_is_no_event_is_counted_with_its_place_and_costs_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let text = format!(
        "{}\nbroken\n\n{{\"kind\":\n{}\n7",
        event(1, "a"),
        event(2, "b")
    );
    fs::write(&path, text).expect("disk");
    let (names, totals) = names(std::slice::from_ref(&path));
    assert_eq!(names, ["a", "b"]);
    assert_eq!(totals.unreadable, 3);
    let lines: Vec<u64> = totals.places.iter().map(|(_, line)| *line).collect();
    assert_eq!(lines, [2, 4, 6]);
    assert!(
        totals.told().contains("audit.log line 2"),
        "{}",
        totals.told()
    );
}

#[test]
fn json_over_several_lines_is_read_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pretty.json");
    let value: serde_json::Value = serde_json::from_str(&event(1, "a")).expect("JSON");
    for (value, expected) in [
        (value.clone(), vec!["a"]),
        (serde_json::json!([value, value]), vec!["a", "a"]),
        (
            serde_json::json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [value]}),
            vec!["a"],
        ),
    ] {
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        fs::write(&path, pretty).expect("disk");
        assert_eq!(names(std::slice::from_ref(&path)).0, expected);
    }
}

#[test]
fn a_file_that_was_named_and_holds_no_event_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.log");
    let told = |path: &Path| {
        let read = read(&[path.to_owned()], &Progress::new("reading"), |_, _| Ok(()));
        read.expect_err("no events").to_string()
    };
    for (text, problem) in [("", "is empty"), ("x\n", "nothing in it is an audit event")] {
        fs::write(&path, text).expect("disk");
        assert!(told(&path).ends_with(problem), "{}", told(&path));
    }
    assert!(told(&folder.path().join("absent")).contains("cannot read"));
}

#[test]
fn an_error_of_who_is_told_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.log");
    fs::write(&path, format!("{}\n{}\n", event(1, "a"), event(2, "b"))).expect("disk");
    let mut told = 0;
    let read = read(&[path], &Progress::new("reading"), |_, _| {
        told += 1;
        Err(Failure::No("enough".to_owned()))
    });
    assert!(read.is_err_and(|error| error.to_string() == "enough"));
    assert_eq!(told, 1);
}
