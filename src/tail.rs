//! `auditrelay tail FILE…`: a relay whose only door is these log files. Everything else is as with `serve`.

use std::process::ExitCode;

use auditrelay_config::{LogFileConfig, load};

use crate::{
    Failure,
    cli::{TailArgs, environment},
    serve::serve,
};

pub(crate) async fn run(args: &TailArgs) -> Result<ExitCode, Failure> {
    let config_file = args.config.as_deref();
    let mut loaded = load(config_file, environment(), args.overrides())?;
    let follow = |path: &std::path::PathBuf| LogFileConfig {
        path: path.clone(),
        cluster: args.cluster.clone(),
    };
    // The files of the configuration are another relay's, which also has its webhook.
    loaded.config.inputs.log_file = args.files.iter().map(follow).collect();
    serve(loaded, true).await
}
