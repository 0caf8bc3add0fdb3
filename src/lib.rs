//! ci-setup-agent runs the setup scripts of an Azure Machine Learning compute instance.
//!
//! Data walks one way, and the modules stand in that order:
//!
//! - [`cli`] and [`settings`]: what the caller, the environment and the config file say
//! - [`request`]: what is asked
//! - [`script`]: what will be run
//! - [`run`]: one process tree, from its start to the death of its last process
//! - [`output`]: the spool on the local disk and its mirror on the share
//! - [`steps`]: the script's top-level commands, recorded from outside as they run
//! - [`record`]: the outcome, what has run once, and who may run now
//! - [`page`]: the details page of a run, and the list of all runs
//! - [`show`]: status and logs
//! - [`log`]: what the agent says of itself
//! - [`check`]: what is wrong with a request or a script, before anything runs
//! - [`sync`]: what a mirror could not finish
//! - [`rehearsal`]: `try`, the same walk on a throw-away share
//! - [`sys`]: system calls behind names, the only unsafe code

pub mod check;
pub mod cli;
pub mod error;
pub mod log;
pub mod output;
pub mod page;
pub mod record;
pub mod rehearsal;
pub mod request;
pub mod run;
pub mod script;
pub mod settings;
pub mod show;
pub mod steps;
pub mod sync;
pub mod sys;

use clap::error::ErrorKind;
use nix::sys::stat::{Mode, umask};

use cli::{Cli, Command, SchemaOf};
use error::Result;
use settings::{Config, Settings};

/// Parses the command line, does what it says, and returns the exit code.
pub fn start() -> u8 {
    if let Some(code) = rehearsal::stand_in() {
        return code;
    }
    // What is made here has the rights that it is given, whoever calls: others read the share.
    umask(Mode::from_bits_truncate(0o022));
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let result = match cli.command {
        Command::Run(args) => Ok(run::run(args.given(), &args.call())),
        Command::Check(args) => check::check(&args),
        Command::Try(args) => rehearsal::rehearse(&args),
        Command::Status(args) => settled(args.given()).and_then(|settings| show::status::status(&settings, &args)),
        Command::Logs(args) => settled(args.given()).and_then(|settings| show::logs::logs(&settings, &args)),
        Command::Sync(args) => settled(args.given()).and_then(|settings| sync::sync(&settings, &args)),
        Command::Schema(args) => schema(args.document),
    };
    result.unwrap_or_else(|error| {
        show::print_error(&error);
        error.exit_code()
    })
}

fn settled(given: settings::Given) -> Result<Settings> {
    Settings::new(given, Config::read(settings::CONFIG.as_ref())?)
}

fn schema(of: SchemaOf) -> Result<u8> {
    let schema = match of {
        SchemaOf::Request => request::schema(),
        SchemaOf::Outcome => schemars::schema_for!(record::Outcome).to_value(),
    };
    show::print_data(&record::state::to_json(&schema))?;
    Ok(0)
}

/// Help and version are data; anything else is one `error:` and one `hint:` line.
fn explain(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return 0;
    }
    let error = show::usage::error_of(error);
    show::print_error(&error);
    if Cli::asks_for_json() {
        let _ = show::print_json(&run::refusal(&error));
    }
    error.exit_code()
}
