//! `auditrelay salvage`: brings what is whole in a store that was moved aside back into the queue.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use auditrelay_store::Salvaged;

use crate::{
    Failure,
    cli::SalvageArgs,
    execute::MOVED_ASIDE,
    output::{count, line, say, say_json},
    request::{Outcome, Request},
    session::{Session, unexpected},
};

pub(crate) async fn run(args: &SalvageArgs) -> Result<ExitCode, Failure> {
    let data_dir = args.place.data_dir()?;
    let folder = match &args.dir {
        Some(dir) => named(&data_dir, dir)?,
        None => the_only_one(&data_dir)?,
    };
    let session = Session::open(&args.place, true).await?;
    let request = Request::Salvage {
        folder: folder.clone(),
    };
    let Outcome::Salvaged(salvaged) = session.ask("salvaging", request).await?.outcome else {
        return Err(unexpected());
    };
    if args.json {
        say_json(&salvaged)?;
    } else {
        let path = session.data_dir().join(&folder);
        say(&told(&salvaged, &path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder's name, where it is one of the data directory's.
fn named(data_dir: &Path, dir: &Path) -> Result<String, Failure> {
    let name = dir.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default().to_owned();
    let wrong = || {
        Failure::Usage(format!(
            "{} is no folder {MOVED_ASIDE}… directly inside {}; move it there",
            dir.display(),
            data_dir.display()
        ))
    };
    // Its name alone is enough, as it stands in the list.
    let given = if dir.components().count() == 1 {
        data_dir.join(dir)
    } else {
        dir.to_owned()
    };
    let parent = given.parent().and_then(|parent| parent.canonicalize().ok());
    let is_inside = parent.is_some() && parent == data_dir.canonicalize().ok();
    if is_inside && name.starts_with(MOVED_ASIDE) && given.is_dir() {
        Ok(name)
    } else {
        Err(wrong())
    }
}

fn the_only_one(data_dir: &Path) -> Result<String, Failure> {
    let path = data_dir.display();
    let entries = std::fs::read_dir(data_dir)
        .map_err(|error| Failure::Other(format!("cannot read {path}: {error}")))?;
    let mut found: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(MOVED_ASIDE))
        .collect();
    found.sort();
    match found.as_slice() {
        [] => Err(Failure::No(format!("no store was moved aside in {path}"))),
        [one] => Ok(one.clone()),
        many => Err(Failure::Usage(format!(
            "say which of these in {path} to salvage: {}",
            many.iter()
                .map(|name| line(name, 100))
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

fn told(salvaged: &Salvaged, folder: &Path) -> String {
    let Salvaged {
        unrouted_events,
        waiting_events,
        dead_events,
        damaged_bytes,
        lost_events,
    } = salvaged;
    let folder: PathBuf = folder.to_owned();
    let mut text = format!("salvaged {}\n", folder.display());
    for (number, noun, meaning) in [
        (
            unrouted_events,
            "event",
            "had not been routed: they are routed now",
        ),
        (
            waiting_events,
            "event",
            "waited for a channel: they wait again, marked as possibly repeated",
        ),
        (dead_events, "event", "of dead letters are there again"),
        (damaged_bytes, "byte", "belong to no whole record"),
    ] {
        let amount = count(*number, noun);
        text.push_str(&format!("  {amount} {meaning}\n"));
    }
    text.push_str(&match lost_events {
        Some(0) => "  nothing that its ledger counted is missing\n".to_owned(),
        Some(lost) => format!(
            "  {} of its ledger could not be found\n",
            count(*lost, "event")
        ),
        // Its ledger cannot be read, or an earlier salvage brought a part of it.
        None => "  what is missing is not known here: see `lost` in auditrelay ledger\n".to_owned(),
    });
    text.push_str(
        "the folder is named queue.salvaged-… now; remove it when you are done with it\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_as_far_as_it_is_known() {
        let words = |lost_events| {
            let salvaged = Salvaged {
                lost_events,
                ..Salvaged::default()
            };
            told(&salvaged, Path::new("queue.corrupt-1"))
        };
        assert!(words(Some(0)).contains("nothing that its ledger counted is missing"));
        assert!(words(Some(7)).contains("7 events of its ledger could not be found"));
        // Also where a salvage goes on after it was interrupted, whose ledger is readable.
        let unknown = words(None);
        assert!(!unknown.contains("cannot be read"), "{unknown}");
        assert!(unknown.contains("`lost` in auditrelay ledger"), "{unknown}");
    }

    #[test]
    fn a_folder_is_named_by_itself_or_by_its_path_and_must_be_inside() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("data");
        let no = the_only_one(&data_dir).expect_err("no folder").exit_code();
        assert_eq!(no, 70);
        std::fs::create_dir_all(data_dir.join("queue.corrupt-1")).expect("made");
        std::fs::create_dir_all(folder.path().join("queue.corrupt-9")).expect("made");
        assert_eq!(the_only_one(&data_dir).expect("one"), "queue.corrupt-1");
        let named = |dir: &Path| named(&data_dir, dir);
        let one = Path::new("queue.corrupt-1");
        assert_eq!(named(one).expect("by name"), "queue.corrupt-1");
        let path = data_dir.join(one);
        assert_eq!(named(&path).expect("by path"), "queue.corrupt-1");
        assert!(named(&folder.path().join("queue.corrupt-9")).is_err());
        assert!(named(Path::new("queue.corrupt-2")).is_err());
        std::fs::create_dir_all(data_dir.join("queue.corrupt-2")).expect("made");
        let many = the_only_one(&data_dir).expect_err("two");
        assert!(
            many.to_string()
                .contains("queue.corrupt-1, queue.corrupt-2")
        );
        assert_eq!(many.exit_code(), 2);
    }
}
