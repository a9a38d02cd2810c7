//! `auditrelay tail FILE…`: a relay whose only door is these log files. Everything else is as with `serve`.

use std::process::ExitCode;

use auditrelay_config::{Config, LogFileConfig};

use crate::{
    Failure,
    cli::{TailArgs, environment},
    reload::Source,
    serve::serve,
};

pub(crate) async fn run(args: &TailArgs) -> Result<ExitCode, Failure> {
    let follow = |path: &std::path::PathBuf| LogFileConfig {
        path: path.clone(),
        cluster: args.cluster.clone(),
    };
    let files: Vec<_> = args.files.iter().map(follow).collect();
    // The files of the configuration are another relay's, which also has its webhook.
    let amend = move |config: &mut Config| config.inputs.log_file.clone_from(&files);
    let file = args.config.clone();
    let (source, loaded) = Source::first(file, environment(), args.overrides(), amend)?;
    serve(source, loaded, true).await
}
