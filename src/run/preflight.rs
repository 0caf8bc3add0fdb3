//! What is looked at on the machine before a script starts.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use super::{Context, environment};
use crate::{
    error::{Code, Error, Result, reason},
    record::{
        state::{Durability, replace},
        words::human,
    },
    request::Warning,
    script::{self, apt},
    show,
    sys::{
        aside::{self, Answer},
        users::User,
    },
};

use std::os::fd::AsFd;

use tracing::info;

/// How long to wait for the locks of apt and dpkg.
const APT_PATIENCE: Duration = Duration::from_secs(120);

/// How long apt itself waits for dpkg's lock, in seconds.
const APT_CONFIG: &str = "// Made by ci-setup-agent for setup scripts.\nDPkg::Lock::Timeout \"600\";\n";

/// Sorted last by its name, so that nothing before it counts.
const SUDOERS: &str = "/etc/sudoers.d/zzz-ci-setup-agent";
/// One text with the file that the package installs.
const SUDOERS_RULES: &str = include_str!("../../packaging/sudoers");

/// Looks the instance's ordinary user up.
///
/// # Errors
/// `no-such-user`.
pub(super) fn find_user(name: &str) -> Result<User> {
    User::named(name).ok_or_else(|| {
        Error::new(
            Code::NoSuchUser,
            format!("there is no user `{}` on this machine", crate::error::one_line(name)),
            "create the user first, or name another one with `--user`",
        )
    })
}

/// Makes the machine ready for a script as root: variables for login shells and cron, rules for sudo,
/// settings for apt. What does not work is a warning.
pub(super) fn furnish(context: &Context) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut note = |code: &str, what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            warnings.push(Warning::new(
                code,
                format!("{what}: {}", reason(&error)),
                "sudo blocks, cron jobs and login shells may lack the CI_* variables",
            ));
        }
    };
    note(
        "environment-not-published",
        "cannot write `/etc/environment`",
        environment::publish(&context.identity, &context.user),
    );
    note("sudoers-not-written", &format!("cannot write `{SUDOERS}`"), publish_sudoers());
    let apt = context.state.path().join("apt.conf");
    if fs::read(&apt).is_ok_and(|old| old == APT_CONFIG.as_bytes()) {
        return warnings;
    }
    note(
        "apt-not-configured",
        "cannot write apt's settings",
        replace(&apt, APT_CONFIG.as_bytes(), Durability::Relaxed),
    );
    warnings
}

/// The package brings these rules along; a machine without it gets them at the first run.
fn publish_sudoers() -> io::Result<()> {
    let folder = Path::new("/etc/sudoers.d");
    if Path::new(SUDOERS).exists() || Path::new("/var/lib/dpkg/info/ci-setup-agent.list").exists() {
        return Ok(());
    }
    // The script may be what installs sudo; its package takes the folder as it finds it.
    match fs::DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // sudo passes over names with a dot, so it never sees a half-written file.
    let temporary = folder.join("zzz-ci-setup-agent.new");
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o440).open(&temporary)?;
    io::Write::write_all(&mut file, SUDOERS_RULES.as_bytes())?;
    fs::rename(temporary, SUDOERS)
}

/// What the script's text needs and this machine lacks. Only warnings: the script may install it.
pub(super) fn missing(text: &[u8], known_user: &str) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if script::uses_sudo(text) && !environment::PATH.split(':').any(|folder| Path::new(folder).join("sudo").exists()) {
        warnings.push(Warning::new(
            "no-sudo",
            "the script uses sudo, which is not installed here",
            "install sudo, in the script before its first use or in the image",
        ));
    }
    for user in script::sudo_users(text) {
        if user != known_user && User::named(&user).is_none() {
            warnings.push(Warning::new(
                "no-such-block-user",
                format!("the script has a block for user `{user}`, who does not exist here"),
                "create the user before the block",
            ));
        }
    }
    warnings
}

/// Waits until nobody holds the locks of apt and dpkg, for a script that names them. Not counted against
/// the script's time.
///
/// # Errors
/// `stopped`.
pub(super) fn wait_for_apt(context: &Context, run: &str, text: &[u8]) -> Result<Option<Warning>> {
    if !apt::is_named_in(text) {
        return Ok(None);
    }
    let Some(holder) = apt::holder() else { return Ok(None) };
    let who = format!("`{}` (pid {})", holder.program, holder.pid);
    info!(run, program = holder.program, pid = holder.pid, lock = holder.lock, "waiting for apt");
    show::eprintln(&format!("note: waiting for {who}, which holds `{}`", holder.lock));
    let began = std::time::Instant::now();
    let stop = Some(context.signals.as_fd());
    let answer = aside::ask(c"ci-setup:apt", Some(APT_PATIENCE), stop, || (apt::wait_until_free(), None));
    let waited = human(began.elapsed().as_secs_f64());
    match answer {
        Ok(Answer::Done(..)) => Ok(Some(Warning::new(
            "waited-for-apt",
            format!("the start waited {waited} for {who}, which held `{}`", holder.lock),
            "automatic updates run at boot; nothing needs to be done",
        ))),
        Ok(Answer::StopAsked) => Err(super::prepare::stopped_before(context)),
        Ok(Answer::TooLate | Answer::Died) | Err(_) => Ok(Some(Warning::new(
            "apt-still-locked",
            format!("{who} still held `{}` after {waited}; the script was started all the same", holder.lock),
            "end that process, or call `run --rerun` when it has ended",
        ))),
    }
}
