//! The command line. Nothing below this module reads the environment.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{
    Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, builder::FalseyValueParser,
};

use crate::{
    request::PartialIdentity,
    settings::{self, Given, Leftovers, StepsMode},
};

/// Runs the setup scripts of an Azure Machine Learning compute instance, and tells how they ended.
#[derive(Debug, Parser)]
#[command(
    name = "ci-setup-agent", version, max_term_width = 100, disable_help_subcommand = true, after_help = PROGRAM_HELP
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line and the variables of its options. A variable that is set to nothing counts as not set:
    /// that is how units and pipelines leave one out.
    ///
    /// # Errors
    /// Those of clap; help and version are among them.
    pub fn read() -> Result<Self, clap::Error> {
        let without_empty_variable = |arg: Arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) { arg.env(None::<&'static str>) } else { arg }
        };
        let mut command =
            Self::command().mut_subcommands(|command| with_common_options(command).mut_args(without_empty_variable));
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }

    /// Whether JSON is asked for, for a command line that could not be read.
    pub fn asks_for_json() -> bool {
        const NO: [&str; 7] = ["", "0", "f", "false", "n", "no", "off"];
        let by_variable = std::env::var("CI_SETUP_JSON").is_ok_and(|value| !NO.contains(&&*value.to_lowercase()));
        by_variable || std::env::args_os().any(|word| word == "--json")
    }
}

/// Every command takes `--state`, and `--json` where it prints data, so that callers need not tell them apart. Where
/// there are no records, or is nothing but JSON, the option says nothing and help does not show it.
fn with_common_options(command: clap::Command) -> clap::Command {
    let has = |name: &str| command.get_arguments().any(|arg| arg.get_long() == Some(name));
    let state = (!has("state")).then(|| Arg::new("state").long("state").value_name("DIR").hide(true));
    let is_json = command.get_name() == "schema";
    let json = is_json.then(|| Arg::new("json").long("json").action(ArgAction::SetTrue).hide(true));
    command.args(state).args(json)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run what is due: the creation script once, the startup script once a boot
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Rehearse a script on this computer, without root and without an instance
    #[command(after_help = TRY_HELP)]
    Try(TryArgs),
    /// Say what is wrong with requests, resources and scripts, before anything runs
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Tell what ran, what is running, and how it ended
    #[command(after_help = STATUS_HELP)]
    Status(StatusArgs),
    /// Print the output of a run
    #[command(after_help = LOGS_HELP)]
    Logs(LogsArgs),
    /// Bring the copies on the share up to date
    #[command(after_help = SYNC_HELP)]
    Sync(SyncArgs),
    /// Print the JSON Schema of what this program reads or writes
    #[command(after_help = SCHEMA_HELP)]
    Schema(SchemaArgs),
}

const PROGRAM_HELP: &str = "\
Examples:
  ci-setup-agent try setup.sh                 rehearse a script, here and now
  ci-setup-agent check request.json setup.sh  find mistakes before anything runs
  sudo ci-setup-agent run request.json        run what is due
  ci-setup-agent status                       what ran and how it ended
  ci-setup-agent logs -f                      the newest run's output, as it comes

Data goes to standard output, everything else to standard error. `--help` behind a command tells its \
options, examples and exit codes; man ci-setup-agent tells how all of it works together.";

const RUN_HELP: &str = "\
Examples:
  ci-setup-agent run request.json
  az rest --method get --url \"$INSTANCE_URL\" | ci-setup-agent run -
  ci-setup-agent run --json --quiet request.json | jq -r .state
  ci-setup-agent run                      what was accepted before, as at boot
  ci-setup-agent run --rerun --only startup

What has run is not run again: `run` tells how it ended and exits with its code. DURATION is a number \
with nothing or s, m, h, d behind it, as for timeout(1); SIZE a number with K, M, G or T.

On a terminal, a line below the output tells the time against the deadline and the command that runs; \
elsewhere a sentence on standard error does, after 30 seconds, one, two and five minutes, and every five \
from then on. NO_COLOR and TERM=dumb are respected; --quiet leaves that alone, --json prints nothing of it.

Exit codes:
  0      every script that is due, or was due, has succeeded
  1-255  the script's own code
  124    the script was still running at its deadline
  125    the request is bad or the agent could not do its work; nothing ran
  126    the script cannot be started
  127    the script was not found
  128+N  the script died by signal N, or the agent was stopped by it
  137    the run was interrupted: the machine or the agent went away";

const TRY_HELP: &str = "\
Examples:
  ci-setup-agent try setup.sh gpu \"two words\"
  ci-setup-agent try --timeout 90s setup.sh

The script really runs, as you: what it installs or deletes is installed or deleted. Its home, its share \
and its state are thrown away afterwards, and `sudo -u USER` is played by a stand-in.

Exit codes:
  N    those of `run`";

const STATUS_HELP: &str = "\
Examples:
  ci-setup-agent status
  ci-setup-agent status creation-20261121T205957Z
  ci-setup-agent status --wait --timeout 20m
  ci-setup-agent status --json | jq -r '.[-1].error.code'

Without root, and where this computer has no records, it reads the copies on the share; name the instance \
with --name where more than one has logs there.

Exit codes:
  0    it was told
  125  there is no such run, or nowhere to look
  124  with --wait: it is still running, and the time of --timeout is up; it stands as `running` then
  N    with --wait: the exit code of the run";

const LOGS_HELP: &str = "\
Examples:
  ci-setup-agent logs -f
  ci-setup-agent logs -t --since 10m
  ci-setup-agent logs creation-20261121T205957Z --failed --lines 20
  ci-setup-agent logs creation-20261121T205957Z > setup.log
  ci-setup-agent logs --name ci-1 --share ~/cloudfiles/code

It prints the bytes that the script wrote. On a terminal, colours stay unless NO_COLOR is set, and whatever \
else a terminal would obey is shown instead, as `\\r` or `\\x1b`.

With --failed, a line on standard error stands before what each command printed; what came within half a \
second after its end may stand there as well.

Without root, and where this computer has no records, it reads the copies on the share. These have neither \
times nor steps, so -t, --since and --failed take root.

Exit codes:
  0    it was printed, however the script ended
  125  there is no such run, its output cannot be read, or what is asked for was not recorded";

const SYNC_HELP: &str = "\
Examples:
  ci-setup-agent sync
  ci-setup-agent sync --flush-wait 5m --json

A run brings its output to the share itself; this finishes what an outage has kept it from. A timer calls \
it at boot and every few minutes. What is there already is compared, not copied again.

Exit codes:
  0    all of this instance's runs are on the share
  1    one of them is still behind
  125  the agent could not do its work";

const SCHEMA_HELP: &str = "\
Examples:
  ci-setup-agent schema request > request.schema.json
  ci-setup-agent schema outcome | jq -r '.\"$defs\".Code.oneOf[].const'

Exit codes:
  0    it was printed
  125  there is no such document";

/// Which instance.
#[derive(Clone, Debug, Default, Args)]
pub struct IdentityArgs {
    /// Resource group of the instance
    #[arg(long, env = "CI_SETUP_RESOURCE_GROUP", value_name = "NAME")]
    pub resource_group: Option<String>,
    /// Workspace of the instance
    #[arg(long, env = "CI_SETUP_WORKSPACE", value_name = "NAME")]
    pub workspace: Option<String>,
    /// Name of the instance
    #[arg(long, env = "CI_SETUP_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// The instance's ordinary user [default: azureuser]
    #[arg(long, env = "CI_SETUP_USER", value_name = "USER")]
    pub user: Option<String>,
}

impl IdentityArgs {
    fn identity(&self) -> PartialIdentity {
        PartialIdentity {
            resource_group: self.resource_group.clone(),
            workspace: self.workspace.clone(),
            name: self.name.clone(),
        }
    }
}

/// Where things lie.
#[derive(Clone, Debug, Default, Args)]
pub struct PlaceArgs {
    /// The notebook file share [default: where the service mounts it]
    #[arg(long, env = "CI_SETUP_SHARE", value_name = "DIR")]
    pub share: Option<PathBuf>,
    /// The state directory [default: /var/lib/ci-setup-agent]
    #[arg(long, env = "CI_SETUP_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// How a run goes.
#[derive(Clone, Debug, Default, Args)]
pub struct LimitArgs {
    /// Time between SIGTERM and SIGKILL [default: 10s]
    #[arg(long, env = "CI_SETUP_GRACE", value_name = "DURATION", value_parser = settings::wait)]
    pub grace: Option<Duration>,
    /// How long to wait for the copy on the share at the end [default: 30s]
    #[arg(long, env = "CI_SETUP_FLUSH_WAIT", value_name = "DURATION", value_parser = settings::wait)]
    pub flush_wait: Option<Duration>,
    /// What becomes of processes that the script leaves running [default: keep]
    #[arg(long, env = "CI_SETUP_LEFTOVERS", value_name = "WHAT")]
    pub leftovers: Option<Leftovers>,
    /// The most bytes kept of the output, such as 512M; 0 keeps all [default: 1GiB]
    #[arg(long, env = "CI_SETUP_OUTPUT_LIMIT", value_name = "SIZE", value_parser = settings::size)]
    pub output_limit: Option<u64>,
    /// How the script's commands are recorded [default: auto]
    #[arg(long, env = "CI_SETUP_STEPS", value_name = "HOW")]
    pub steps: Option<StepsMode>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct PrintArgs {
    /// Print the outcome as JSON instead of the script's output
    #[arg(long, env = "CI_SETUP_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// Do not print the script's output
    #[arg(long, short, env = "CI_SETUP_QUIET", value_parser = FalseyValueParser::new())]
    pub quiet: bool,
    /// What the environment says of terminals.
    #[arg(skip = Terminal::of_environment())]
    pub terminal: Terminal,
}

/// What may be done to a terminal, should there be one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Terminal {
    /// The cursor moved, text coloured.
    Coloured,
    /// The cursor moved: `NO_COLOR` is set.
    Plain,
    /// Nothing: `TERM` is `dumb`, or not set.
    #[default]
    Dumb,
}

impl Terminal {
    fn of_environment() -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match std::env::var_os("TERM") {
            Some(term) if term != "dumb" && !term.is_empty() && is_set("NO_COLOR") => Self::Plain,
            Some(term) if term != "dumb" && !term.is_empty() => Self::Coloured,
            _ => Self::Dumb,
        }
    }
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The request: a JSON file, or `-` for standard input
    /// [default: /etc/ci-setup-agent/request.json, else the one accepted before]
    pub request: Option<PathBuf>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    places: PlaceArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    print: PrintArgs,
    /// How long to look for the script on a share that is late [default: 120s]
    #[arg(long, env = "CI_SETUP_SHARE_WAIT", value_name = "DURATION", value_parser = settings::wait)]
    share_wait: Option<Duration>,
    /// Run only this script
    #[arg(long, env = "CI_SETUP_ONLY", value_name = "SCRIPT")]
    only: Option<Only>,
    /// Run what has already run once more
    #[arg(long, env = "CI_SETUP_RERUN", value_parser = FalseyValueParser::new())]
    rerun: bool,
    /// Exit with 0 however the scripts ended
    #[arg(long, env = "CI_SETUP_BEST_EFFORT", value_parser = FalseyValueParser::new())]
    best_effort: bool,
    /// The mark in the environment of a script that `run` executes.
    #[arg(long, hide = true, env = "CI_SETUP_RUN")]
    inside: Option<String>,
}

/// One of the two scripts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Only {
    /// The creation script.
    Creation,
    /// The startup script, whether or not creation has succeeded.
    Startup,
}

/// What one call of `run` wants besides its settings.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request; `-` is standard input.
    pub request: Option<PathBuf>,
    /// One script alone.
    pub only: Option<Only>,
    /// Whether what has run runs again.
    pub rerun: bool,
    /// Whether the exit code tells nothing of the scripts.
    pub best_effort: bool,
    /// The run whose script made this call.
    pub inside: Option<String>,
    /// What is printed.
    pub print: PrintArgs,
}

impl RunArgs {
    /// What the options and their variables settle.
    pub fn given(&self) -> Given {
        given(&self.identity, &self.places, &self.limits, self.share_wait)
    }

    /// What else is wanted.
    pub fn call(self) -> Call {
        Call {
            request: self.request,
            only: self.only,
            rerun: self.rerun,
            best_effort: self.best_effort,
            inside: self.inside,
            print: self.print,
        }
    }
}

fn given(identity: &IdentityArgs, places: &PlaceArgs, limits: &LimitArgs, share_wait: Option<Duration>) -> Given {
    Given {
        identity: identity.identity(),
        user: identity.user.clone(),
        share: places.share.clone(),
        state: places.state.clone(),
        grace: limits.grace,
        share_wait,
        flush_wait: limits.flush_wait,
        leftovers: limits.leftovers,
        output_limit: limits.output_limit,
        steps: limits.steps,
    }
}

/// Options of `try`.
#[derive(Debug, Args)]
pub struct TryArgs {
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// What is printed.
    #[command(flatten)]
    pub print: PrintArgs,
    /// The script's time limit, as a request would have it [default: 15m]
    #[arg(long, env = "CI_SETUP_TIMEOUT", value_name = "DURATION")]
    pub timeout: Option<String>,
    /// The script: a file whose name ends in `.sh`
    pub script: PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

impl TryArgs {
    /// What the options and their variables settle.
    pub fn given(&self) -> Given {
        given(&self.identity, &PlaceArgs::default(), &self.limits, None)
    }
}

const CHECK_HELP: &str = "\
Examples:
  ci-setup-agent check request.json setup.sh
  az rest --method get --url \"$INSTANCE_URL\" | ci-setup-agent check --explain -

Each finding ends in the name of its rule; `# ci-setup: ignore RULE` on the line or on the line above \
takes it away.

Exit codes:
  0  nothing found
  1  warnings
  2  errors, a file that cannot be read among them";

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Requests, resources, templates, scripts; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How findings are printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Print JSON
    #[arg(long, env = "CI_SETUP_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    /// Tell the next five times of each schedule
    #[arg(long)]
    pub explain: bool,
    /// Tell what shellcheck finds as well
    #[arg(long)]
    pub shellcheck: bool,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// `file:line:column: error: text [rule]`, then `hint: …`
    #[default]
    Text,
    /// One JSON document
    Json,
    /// Annotations of a GitHub workflow
    Github,
}

impl CheckArgs {
    /// How findings are printed.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The run; all runs without it
    pub run: Option<String>,
    /// Wait until it has ended; without a run, until nothing runs
    #[arg(long)]
    pub wait: bool,
    /// Wait at most this long
    #[arg(long, value_name = "DURATION", value_parser = settings::wait, requires = "wait")]
    pub timeout: Option<Duration>,
    /// Print JSON
    #[arg(long, env = "CI_SETUP_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    #[command(flatten)]
    reading: ReadArgs,
    /// What the environment says of terminals.
    #[arg(skip = Terminal::of_environment())]
    pub terminal: Terminal,
}

/// Where to read records.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadArgs {
    /// Name of the instance, to find its logs on the share
    #[arg(long, env = "CI_SETUP_NAME", value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    places: PlaceArgs,
}

impl ReadArgs {
    /// What the options and their variables settle.
    pub fn given(&self) -> Given {
        let identity = PartialIdentity { name: self.name.clone(), ..PartialIdentity::default() };
        Given { identity, share: self.places.share.clone(), state: self.places.state.clone(), ..Given::default() }
    }
}

impl StatusArgs {
    /// What the options and their variables settle.
    pub fn given(&self) -> Given {
        self.reading.given()
    }
}

/// Options of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The run; the newest without it
    pub run: Option<String>,
    /// Go on printing until the run has ended
    #[arg(long, short)]
    pub follow: bool,
    /// Print before each line when it came (RFC 3339, UTC)
    #[arg(long, short)]
    pub timestamps: bool,
    /// Only what came since then: a DURATION ago, or a time such as 2026-11-21T20:59:57Z
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Since>,
    /// Only the last N lines
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<u64>,
    /// Only what the commands printed that failed
    #[arg(long, conflicts_with_all = ["follow", "since"])]
    pub failed: bool,
    /// Print JSON, one object for each line
    #[arg(long, env = "CI_SETUP_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    #[command(flatten)]
    reading: ReadArgs,
    /// What the environment says of terminals.
    #[arg(skip = Terminal::of_environment())]
    pub terminal: Terminal,
}

/// A moment before which nothing is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// That time.
    At(SystemTime),
}

/// Reads a DURATION or an RFC 3339 time.
fn since(text: &str) -> Result<Since, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::At(time.into()));
    }
    // A date looks like nothing else.
    if text.contains(':') || text.matches('-').count() >= 2 {
        return Err("write a time with its zone, such as 2026-11-21T20:59:57Z".into());
    }
    settings::wait(text).map(Since::Ago)
}

impl LogsArgs {
    /// What the options and their variables settle.
    pub fn given(&self) -> Given {
        self.reading.given()
    }
}

/// Options of `sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    places: PlaceArgs,
    /// How long to wait for a share that makes no progress [default: 30s]
    #[arg(long, env = "CI_SETUP_FLUSH_WAIT", value_name = "DURATION", value_parser = settings::wait)]
    flush_wait: Option<Duration>,
    /// Print JSON
    #[arg(long, env = "CI_SETUP_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

impl SyncArgs {
    /// What the options and their variables settle.
    pub fn given(&self) -> Given {
        let limits = LimitArgs { flush_wait: self.flush_wait, ..LimitArgs::default() };
        given(&self.identity, &self.places, &limits, None)
    }
}

/// Options of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of which document
    pub document: SchemaOf,
}

/// The documents that have a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SchemaOf {
    /// What `run` reads.
    Request,
    /// What it writes.
    Outcome,
}
