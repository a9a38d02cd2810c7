//! What a loss of power takes from a nats-server.
//!
//! nats-server is a static Go program that calls the kernel itself, so the shim of `tests/faults` (LD_PRELOAD) does not
//! reach it. Here strace looks at it instead, and once it was killed its files are cut to what its own syncs covered.
//!
//! What is modelled:
//! * bytes that were appended to a file and that no completed `fsync` or `fdatasync` covers, which was called after they
//!   were written, are gone; or a part of them is;
//! * a file that was made or begun anew and never synced is empty, also under the name that it was given since;
//! * what goes through a descriptor with `O_SYNC` is durable when it is written.
//!
//! What is not: bytes that were written over others stay (blocks of streams are appended to, or made anew as a whole), and
//! names stay: files that were made, renamed or removed are so after the loss, as file systems do for a file that is synced
//! itself. What was there at the start of a server counts as durable.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, OpenOptions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use crate::support::PATIENCE;

/// Calls that change files, but for plain writes: those are of network connections, and of files that are made anew.
const CALLS: &str = "pwrite64,ftruncate,fsync,fdatasync,openat,renameat,renameat2,unlinkat";

/// A program that becomes another one, looked at by strace. Its trace has the process in its name.
pub fn wrapper(folder: &Path) -> PathBuf {
    let path = folder.join("traced.sh");
    let traces = folder.display();
    let script = format!(
        "#!/bin/sh\nexec strace -D -f --seccomp-bpf -y -s 0 -o '{traces}/trace.'$$ -e trace={CALLS} \"$@\"\n"
    );
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("set");
    path
}

/// What is known of a file.
#[derive(Debug, Clone, Default)]
struct File {
    /// The end of what was written by calls that have returned.
    written: u64,
    /// The end of what syncs cover.
    synced: u64,
    /// Whether there is nothing to lose: `O_SYNC`, or a sync after writes that are not looked at.
    is_durable: bool,
}

/// A call that has not returned.
enum Call {
    Write {
        path: PathBuf,
        end: u64,
    },
    /// And what was written when it began.
    Sync {
        path: PathBuf,
        covers: u64,
    },
}

/// What losses came to.
#[derive(Debug, Default)]
pub struct Lost {
    pub syncs: u64,
    /// Bytes by the names of files: blocks of streams and of Raft's logs (`.blk`), and what is only there to start sooner
    /// (`index.db`).
    pub bytes: BTreeMap<String, u64>,
}

/// How long each file is, below a folder.
pub type Sizes = HashMap<PathBuf, u64>;

pub fn sizes(folder: &Path) -> Sizes {
    let mut sizes = Sizes::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // It may not be there yet.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let found = entry.metadata().expect("it is there");
            if found.is_dir() {
                folders.push(entry.path());
            } else {
                sizes.insert(entry.path(), found.len());
            }
        }
    }
    sizes
}

/// The trace of a process that runs.
pub struct Trace {
    file: PathBuf,
    tracer: u32,
}

impl Trace {
    pub fn of(folder: &Path, process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let tracer = status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:"));
        Self {
            file: folder.join(format!("trace.{process}")),
            tracer: tracer
                .and_then(|text| text.trim().parse().ok())
                .expect("a tracer"),
        }
    }

    /// All of it, once strace has ended, as it does after what it looks at.
    async fn whole(&self) -> String {
        let runs = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.tracer));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        let ending = async {
            while runs() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, ending).await.expect("strace ends");
        fs::read_to_string(&self.file).expect("a trace")
    }
}

/// Takes from the files of a server that was killed what it had not synced: all of it, or a part by chance.
pub async fn lose_power(
    trace: &Trace,
    (store, before): (&Path, &Sizes),
    mut part: Option<&mut fastrand::Rng>,
    lost: &mut Lost,
) {
    let text = trace.whole().await;
    let mut files = Files::new(before);
    for line in text.lines() {
        files.line(line);
    }
    lost.syncs += files.syncs;
    for (path, file) in files.files {
        let Ok(found) = fs::metadata(&path) else {
            continue;
        };
        if file.is_durable || !path.starts_with(store) || found.len() <= file.synced {
            continue;
        }
        let left = match &mut part {
            Some(rng) => rng.u64(file.synced..=found.len()),
            None => file.synced,
        };
        let opened = OpenOptions::new().write(true).open(&path);
        opened.and_then(|file| file.set_len(left)).expect("cut");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        *lost.bytes.entry(name.into_owned()).or_default() += found.len() - left;
    }
}

struct Files {
    files: HashMap<PathBuf, File>,
    calls: HashMap<String, Call>,
    syncs: u64,
}

impl Files {
    fn new(before: &Sizes) -> Self {
        let file = |(path, size): (&PathBuf, &u64)| {
            let file = File {
                written: *size,
                synced: *size,
                is_durable: false,
            };
            (path.clone(), file)
        };
        Self {
            files: before.iter().map(file).collect(),
            calls: HashMap::new(),
            syncs: 0,
        }
    }

    fn line(&mut self, line: &str) {
        let Some((thread, call)) = line.split_once(' ') else {
            return;
        };
        let call = call.trim_start();
        if call.starts_with("<... ") {
            // strace: `<... fsync resumed>) = 0`
            self.returns(thread, result(call));
            return;
        }
        let (name, arguments) = call.split_once('(').unwrap_or((call, ""));
        let is_complete = !call.ends_with("<unfinished ...>");
        match name {
            "pwrite64" => {
                let Some((path, rest)) = descriptor(arguments) else {
                    return;
                };
                let mut numbers = rest.split(',').skip(2).filter_map(number);
                let (Some(bytes), Some(at)) = (numbers.next(), numbers.next()) else {
                    panic!("not understood: {line}")
                };
                let end = at + bytes;
                self.begins(thread, Call::Write { path, end });
            }
            "fsync" | "fdatasync" => {
                let Some((path, _)) = descriptor(arguments) else {
                    return;
                };
                let covers = self.files.get(&path).map_or(0, |file| file.written);
                self.begins(thread, Call::Sync { path, covers });
            }
            "ftruncate" => {
                let Some((path, rest)) = descriptor(arguments) else {
                    return;
                };
                let length = rest.split(',').nth(1).and_then(number).unwrap_or(0);
                let file = self.files.entry(path).or_default();
                file.written = file.written.min(length);
                file.synced = file.synced.min(length);
                return;
            }
            "openat" => return self.opens(arguments),
            "renameat" | "renameat2" => return self.renames(arguments),
            "unlinkat" => {
                let mut names = arguments.split('"');
                if let Some(path) = names.nth(1) {
                    self.files.remove(Path::new(path));
                }
                return;
            }
            _ => return,
        }
        if is_complete {
            self.returns(thread, result(call));
        }
    }

    fn begins(&mut self, thread: &str, call: Call) {
        self.calls.insert(thread.to_owned(), call);
    }

    fn returns(&mut self, thread: &str, result: Option<u64>) {
        match (self.calls.remove(thread), result) {
            (Some(Call::Write { path, end }), Some(_)) => {
                let file = self.files.entry(path).or_default();
                file.written = file.written.max(end);
                file.is_durable = false;
            }
            (Some(Call::Sync { path, covers }), Some(_)) => {
                self.syncs += 1;
                let file = self.files.entry(path).or_default();
                file.synced = file.synced.max(covers);
                // Written by calls that are not looked at.
                file.is_durable = file.written == 0;
            }
            _ => {}
        }
    }

    /// A file that is begun anew, or made.
    fn opens(&mut self, arguments: &str) {
        let mut parts = arguments.split('"');
        let (Some(path), Some(flags)) = (parts.nth(1), parts.next()) else {
            return;
        };
        let path = PathBuf::from(path);
        if flags.contains("O_TRUNC") || flags.contains("O_EXCL") {
            self.files.insert(path, File::default());
        } else if flags.contains("O_CREAT") {
            self.files.entry(path).or_default();
        }
        let path = Path::new(arguments.split('"').nth(1).unwrap_or_default());
        if let (true, Some(file)) = (flags.contains("O_SYNC"), self.files.get_mut(path)) {
            file.is_durable = true;
        }
    }

    fn renames(&mut self, arguments: &str) {
        let mut names = arguments.split('"').skip(1).step_by(2);
        if let (Some(from), Some(to)) = (names.next(), names.next())
            && let Some(file) = self.files.remove(Path::new(from))
        {
            self.files.insert(to.into(), file);
        }
    }
}

/// strace -y: `11</the/path>, …`; the path, and what follows.
fn descriptor(arguments: &str) -> Option<(PathBuf, &str)> {
    let (_, rest) = arguments.split_once('<')?;
    let (path, rest) = rest.split_once('>')?;
    path.starts_with('/').then(|| (PathBuf::from(path), rest))
}

fn number(text: &str) -> Option<u64> {
    let digits: String = text
        .trim()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// What a call returned, unless it failed.
fn result(call: &str) -> Option<u64> {
    number(call.rsplit_once("= ")?.1)
}

#[test]
fn what_no_sync_covers_is_known() {
    let trace = r#"
7 openat(AT_FDCWD</>, "/s/1.blk", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 11</s/1.blk>
7 pwrite64(11</s/1.blk>, ""..., 100, 0) = 100
8 fsync(11</s/1.blk> <unfinished ...>
7 pwrite64(11</s/1.blk>, ""..., 50, 100) = 50
8 <... fsync resumed>)              = 0
7 openat(AT_FDCWD</>, "/s/index.tmp", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 12</s/index.tmp>
7 renameat(AT_FDCWD</>, "/s/index.tmp", AT_FDCWD</>, "/s/index") = 0
7 openat(AT_FDCWD</>, "/s/meta", O_WRONLY|O_CREAT|O_TRUNC|O_SYNC|O_CLOEXEC, 0600) = 12</s/meta>
7 pwrite64(13</s/old.blk>, ""..., 10, 400 <unfinished ...>
7 <... pwrite64 resumed>)           = 10
8 fsync(13</s/old.blk>)             = -1 EIO (Input/output error)
"#;
    let before = Sizes::from([(PathBuf::from("/s/old.blk"), 400)]);
    let mut files = Files::new(&before);
    trace.lines().for_each(|line| files.line(line));
    let synced = |path: &str| {
        let file = &files.files[Path::new(path)];
        (!file.is_durable).then_some((file.synced, file.written))
    };
    assert_eq!(synced("/s/1.blk"), Some((100, 150)));
    assert_eq!(synced("/s/index"), Some((0, 0)));
    assert_eq!(synced("/s/meta"), None);
    assert_eq!(synced("/s/old.blk"), Some((400, 410)));
    assert_eq!(files.syncs, 1);
}
