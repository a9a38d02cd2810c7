//! The shim (`shim.c`): built once, and what a process needs to run under it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::undo;

/// What the disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    Honest,
    /// Answers these syncs and does not count them: "fdatasync", "folders" or "all".
    Ignores(&'static str),
    /// Fails while the sentinel is there, after so many calls: "enospc", "eio-write", "eio-sync"; or kills
    /// the process, "dies".
    Fails(&'static str, u32),
}

/// The shim as a library, or `None` where there is no C compiler; says so.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| {
            if Command::new("cc").arg("--version").output().is_err() {
                crate::say(
                    "skipped: there is no C compiler (Debian: apt-get install gcc libc6-dev)",
                );
                return None;
            }
            Some(build())
        })
        .as_deref()
}

/// Tests run as processes of their own, at the same time: each builds its own and renames it.
fn build() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mine = folder.join(format!("shim-{}.so", std::process::id()));
    let built = Command::new("cc")
        .args(["-std=gnu99", "-O1", "-Wall", "-Wextra", "-Werror"])
        .args(["-shared", "-fPIC", "-pthread", "-o"])
        .args([&mine, &source])
        .output()
        .expect("cc starts");
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{errors}");
    let library = folder.join("shim.so");
    fs::rename(&mine, &library).expect("renamed");
    library
}

/// A folder of a test: `disk`, whose changes can be taken back, the journal beside it, and the rest.
pub struct Bench {
    folder: tempfile::TempDir,
    root: PathBuf,
    library: &'static Path,
}

impl Bench {
    /// `None` where the shim cannot be built.
    pub fn new() -> Option<Self> {
        let library = library()?;
        let folder = tempfile::tempdir().expect("a folder");
        // The shim compares with what the kernel calls it.
        let root = folder.path().canonicalize().expect("it is there");
        let bench = Self {
            folder,
            root,
            library,
        };
        fs::create_dir(bench.disk()).expect("made");
        fs::create_dir(bench.journal()).expect("made");
        Some(bench)
    }

    pub fn path(&self) -> &Path {
        debug_assert!(self.folder.path().exists());
        &self.root
    }

    pub fn disk(&self) -> PathBuf {
        self.root.join("disk")
    }

    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    fn sentinel(&self) -> PathBuf {
        self.root.join("sentinel")
    }

    /// From now on the disk fails, or no more.
    pub fn fail(&self, fails: bool) {
        if fails {
            fs::write(self.sentinel(), "").expect("written");
        } else {
            // It may not be there.
            let _ = fs::remove_file(self.sentinel());
        }
    }

    /// When the disk first failed, in ns since 1970.
    pub fn failed_at(&self) -> Option<u128> {
        let text = fs::read_to_string(self.journal().join("fault")).ok()?;
        text.parse().ok()
    }

    /// The environment of a process that is to have this disk.
    pub fn env(&self, disk: Disk) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        let mut env = vec![
            ("LD_PRELOAD", text(self.library)),
            ("SHIM_DIR", text(&self.disk())),
            ("SHIM_JOURNAL", text(&self.journal())),
            ("SHIM_SENTINEL", text(&self.sentinel())),
        ];
        match disk {
            Disk::Honest => {}
            Disk::Ignores(syncs) => env.push(("SHIM_IGNORE", syncs.to_owned())),
            Disk::Fails(what, skip) => {
                env.push(("SHIM_FAULT", what.to_owned()));
                env.push(("SHIM_SKIP", skip.to_string()));
            }
        }
        env
    }

    /// What a power loss leaves, after the process has ended. What is there then is durable.
    pub fn lose_power(&self, loss: undo::Loss<'_>) -> undo::Report {
        let report = undo::undo(&self.disk(), &self.journal(), loss);
        self.forget();
        report
    }

    /// What is there is durable: the machine went on.
    pub fn forget(&self) {
        fs::remove_dir_all(self.journal()).expect("removed");
        fs::create_dir(self.journal()).expect("made");
    }
}

/// The environment as `Running` takes it.
pub fn borrowed<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    env.iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}
