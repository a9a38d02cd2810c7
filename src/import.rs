//! `auditrelay import FILE`: what `export` wrote, into a data directory that was never used.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    process::ExitCode,
};

use crate::{
    Failure,
    cli::ImportArgs,
    export::{failure, is_zstd, open_at_rest, told},
    output::say,
    progress::Progress,
};

pub(crate) async fn run(args: &ImportArgs) -> Result<ExitCode, Failure> {
    let file = args.file.as_path();
    let progress = Progress::new("importing");
    // Before anything is made.
    let lines = lines(file, &progress)
        .map_err(|error| Failure::Other(format!("cannot read {}: {error}", file.display())))?;
    let data_dir = args.place.data_dir()?;
    let queue = open_at_rest(&data_dir)?;
    let moved = queue.import(lines, |_| {}).await;
    progress.end();
    let moved = moved.map_err(|error| failure(error, "import"))?;
    let path = data_dir.display();
    say(&format!("read into {path}:\n{}", told(&moved)))?;
    if moved.keys > 0 && !data_dir.join("dedup.key").exists() {
        say(
            "copy dedup.key from the old data directory before the relay starts, or repetitions of what it \
             has seen are told twice\n",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(file: &Path, progress: &Progress) -> io::Result<Box<dyn BufRead + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file)?;
    let total = opened.metadata()?.len();
    let read = progress.reading(total, opened);
    Ok(if is_zstd(file) {
        Box::new(BufReader::new(zstd::Decoder::new(read)?))
    } else {
        Box::new(BufReader::new(read))
    })
}
