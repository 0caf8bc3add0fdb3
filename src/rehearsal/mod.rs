//! `try`: a rehearsal of one script on this computer, on a throw-away share (CONTRACT 2).
//!
//! It walks the same way as `run`: the same lookup, environment, supervision, mirror and outcome. Only the
//! share, the state and the homes are throw-away, and sudo is played by a stand-in.

mod copy;
mod su;
mod sudo;

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::{AccessFlags, access},
};

pub use self::sudo::stand_in;
use crate::{
    cli::TryArgs,
    error::{Code, Error, Result},
    record::{
        Outcome,
        outcome::{ScriptKind, State},
        state::StateDir,
    },
    request::{Identity, ScriptRequest, SharePath, Source, Timeout},
    run::{self, Context, environment::Environment, prepare, start::OomScore},
    script::share::Share,
    settings::Settings,
    show,
    sys::users::User,
};

/// The throw-away place of a rehearsal.
#[derive(Debug)]
pub struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    /// A place in which programs can be started: `/tmp` may be mounted without that right.
    fn new() -> io::Result<Self> {
        let in_tmp = Self::in_folder(&std::env::temp_dir());
        match in_tmp.as_ref().map(Self::allows_programs) {
            Ok(true) => in_tmp,
            Ok(false) | Err(_) => Self::in_folder(Path::new("/var/tmp")).or(in_tmp),
        }
    }

    fn allows_programs(&self) -> bool {
        access(&self.at("bin/sudo"), AccessFlags::X_OK).is_ok()
    }

    fn in_folder(folder: &Path) -> io::Result<Self> {
        let room = Self { folder: tempfile::Builder::new().prefix("ci-setup-try-").tempdir_in(folder)? };
        for name in ["share", "state", "bin", "home"] {
            fs::create_dir(room.at(name))?;
        }
        sudo::make_home(&room.at("home"), "root")?;
        let own = quoted(&std::env::current_exe()?);
        for (name, mark) in [("sudo", sudo::MARK), ("su", su::MARK)] {
            let text = format!("#!/bin/sh\nexec {own} {mark} {} \"$@\"\n", quoted(room.folder.path()));
            let path = room.at("bin").join(name);
            let mut file = fs::File::options().write(true).create_new(true).mode(0o755).open(path)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
        }
        Ok(room)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the hook that records steps lies, if there is one.
    pub fn hook(&self) -> PathBuf {
        sudo::hook(self.folder.path())
    }

    /// The script's home.
    pub fn home(&self) -> PathBuf {
        self.at("home/root")
    }

    /// The name behind `USER`, as on an instance.
    pub fn login(&self) -> &str {
        "root"
    }

    /// Puts the stand-ins for sudo and su before the real ones.
    pub fn adapt(&self, environment: &mut Environment) {
        let mut path = self.at("bin").into_os_string();
        path.push(":");
        path.push(environment.get("PATH").unwrap_or_default());
        environment.set("PATH", path);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Folders without the right to write, as Go's module cache has them, could not be emptied; and what
        // is left of the run may still write.
        for _ in 0..20 {
            copy::open_up(self.folder.path());
            match fs::remove_dir_all(self.folder.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

/// Rehearses a script and returns the exit code that `run` would return.
///
/// # Errors
/// What `run` would refuse, and what only a rehearsal refuses.
pub fn rehearse(args: &TryArgs) -> Result<u8> {
    try_rehearse(args).inspect_err(|error| {
        if args.print.json {
            let _ = show::print_json(&run::refusal(error));
        }
    })
}

fn try_rehearse(args: &TryArgs) -> Result<u8> {
    let settings = Settings::new(args.given(), crate::settings::Config::default())?;
    let signals = run::listen_to_stops().map_err(|error| cannot("listen to signals", error))?;
    let name = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.into());
    let identity = Identity::new(
        name(&settings.identity.resource_group, "rehearsal"),
        name(&settings.identity.workspace, "rehearsal"),
        name(&settings.identity.name, "rehearsal"),
    )?;
    let user = name(&settings.user, "azureuser");
    let room = Room::new().map_err(|error| cannot("make a throw-away folder", error))?;
    let caller = User::name_of(nix::unistd::geteuid().as_raw());
    show::eprintln(&format!(
        "note: rehearsal of `{}`: its commands really run on this computer, as {caller}",
        crate::error::one_line(&args.script.to_string_lossy())
    ));
    let path = bring_in(&args.script, &room)?;
    let request = ScriptRequest {
        source: Source::WorkspaceStorage(path),
        arguments: args.arguments.clone(),
        timeout: timeout(args.timeout.as_deref())?,
    };
    let share = room.at("share");
    let context = Context {
        share: Share::of(identity.name(), &user, Some(&share)),
        state: StateDir::open(&room.at("state"))?,
        identity,
        user,
        account: None,
        oom_score: OomScore::default(),
        signals,
        print: args.print,
        settings,
        rehearsal: Some(room),
    };
    let outcome = prepare::execute(&context, ScriptKind::CreationScript, &request, None, &[], &mut None);
    wait_for_helpers(&outcome);
    tell(&outcome, args)?;
    Ok(outcome.exit_code.unwrap_or(Code::Internal.exit_code()))
}

/// The supervisor and the mirror may still be at their last words, in the folder that is to be removed. Where
/// the script left processes behind, they stay with these.
fn wait_for_helpers(outcome: &Outcome) {
    let until = Instant::now() + Duration::from_secs(2);
    while outcome.processes.left_count == 0 && Instant::now() < until {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(2)),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn tell(outcome: &Outcome, args: &TryArgs) -> Result<()> {
    if args.print.json {
        return show::print_json(outcome);
    }
    let mut shown = outcome.clone();
    shown.output.mirror_path = None;
    show::tell_end(&shown);
    if outcome.state == State::Rejected {
        show::eprintln("note: nothing was run");
    }
    Ok(())
}

/// Copies the script and its neighbours to the throw-away share, and returns its path there.
fn bring_in(script: &Path, room: &Room) -> Result<SharePath> {
    let shown = script.display();
    let found = fs::metadata(script).map_err(|error| {
        let code = if error.kind() == io::ErrorKind::NotFound { Code::ScriptNotFound } else { Code::Unreadable };
        Error::new(code, format!("cannot find script `{shown}`"), "name a file on this computer").because(error)
    })?;
    if found.is_dir() {
        return Err(Error::new(Code::IsAFolder, format!("script `{shown}` is a folder"), "name the script file in it"));
    }
    if !found.is_file() {
        return Err(Error::new(
            Code::NotARegularFile,
            format!("script `{shown}` is neither a file nor a folder"),
            "name an ordinary file",
        ));
    }
    let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = SharePath::parse(&format!("Users/try/{name}"), None)?;
    let folder = room.at("share").join("Users/try");
    fs::create_dir_all(&folder).map_err(|error| cannot("make the throw-away share", error))?;
    fs::copy(script, folder.join(&name)).map_err(|error| {
        Error::new(Code::Unreadable, format!("cannot read script `{shown}`"), "make it readable for yourself")
            .because(error)
    })?;
    let own_folder = script.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !copy::neighbours(own_folder, &folder) {
        show::eprintln("note: the script's folder is large; its neighbours are not on the throw-away share");
    }
    Ok(path)
}

fn timeout(given: Option<&str>) -> Result<Timeout> {
    let Some(text) = given else { return Ok(Timeout { given: None, limit: Some(Timeout::DEFAULT) }) };
    let limit =
        crate::request::parse_duration(text).map_err(|error| error.into_error(Code::BadTimeout, "--timeout"))?;
    Ok(Timeout { given: Some(text.to_owned()), limit })
}

fn cannot(what: &str, error: io::Error) -> Error {
    Error::new(Code::Internal, format!("cannot {what}"), "see whether the disk is full or read-only").because(error)
}
