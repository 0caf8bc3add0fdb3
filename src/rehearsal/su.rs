//! The stand-in for su in a rehearsal, for scripts that say `sudo su - USER`: as the one for sudo, it gives a
//! command the environment and the throw-away home of its user, and lets it run as whoever called.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::sudo::{SECURE_PATH, make_home};

/// The first argument by which the agent knows that it is called as su.
pub(super) const MARK: &str = "__play-su";

/// Plays su with the words behind [`MARK`], and returns the exit code.
pub(super) fn play(mut words: impl Iterator<Item = OsString>) -> u8 {
    let room = PathBuf::from(words.next().unwrap_or_default());
    let call = match Call::parse(words) {
        Ok(call) => call,
        Err(message) => {
            eprintln!("su: {message}");
            return 1;
        }
    };
    let error = match call.command(&room) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    };
    let why = crate::error::reason(&error);
    eprintln!("su: failed to execute {}: {why}", call.shell().to_string_lossy());
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

#[derive(Debug, Default)]
struct Call {
    user: Option<String>,
    is_login: bool,
    keeps_environment: bool,
    shell: Option<OsString>,
    /// What the shell gets, `-c COMMAND` among it.
    words: Vec<OsString>,
}

impl Call {
    /// Reads su's options, which may stand before and behind the user's name.
    fn parse(words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut call = Self::default();
        let mut words = words;
        while let Some(word) = words.next() {
            let text = word.to_string_lossy().into_owned();
            let (name, value) = match text.strip_prefix("--").and_then(|long| long.split_once('=')) {
                Some((name, value)) => (format!("--{name}"), Some(OsString::from(value))),
                None => (text, None),
            };
            let mut needed =
                || value.clone().or_else(|| words.next()).ok_or(format!("option requires an argument -- '{name}'"));
            match &*name {
                "-" | "-l" | "--login" => call.is_login = true,
                "-m" | "-p" | "--preserve-environment" => call.keeps_environment = true,
                "-c" | "--command" | "--session-command" => call.words.extend(["-c".into(), needed()?]),
                "-s" | "--shell" => call.shell = Some(needed()?),
                "-g" | "--group" | "-G" | "--supp-group" | "-w" | "--whitelist-environment" => drop(needed()?),
                "-f" | "--fast" | "-P" | "--pty" => {}
                "--" => {
                    call.words.extend(words.by_ref());
                }
                _ if name.starts_with('-') && call.user.is_none() => {
                    return Err(format!("unrecognized option '{name}'"));
                }
                _ if call.user.is_none() => call.user = Some(name),
                _ => call.words.push(word),
            }
        }
        Ok(call)
    }

    fn shell(&self) -> &OsStr {
        self.shell.as_deref().unwrap_or(OsStr::new("/bin/bash"))
    }

    fn command(&self, room: &Path) -> io::Result<Command> {
        let user = self.user.as_deref().unwrap_or("root");
        let home = make_home(&room.join("home"), user)?;
        let mut command = Command::new(self.shell());
        let name = Path::new(self.shell()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        command.arg0(&name).args(&self.words);
        if self.is_login {
            let kept = env::vars_os().filter(|(name, _)| name == "TERM" || name.to_string_lossy().starts_with("CI_"));
            command.env_clear().envs(kept.collect::<Vec<_>>());
            command.arg0(format!("-{name}")).current_dir(&home);
            command.env("PATH", format!("{}:{SECURE_PATH}", room.join("bin").display()));
        }
        if self.is_login || !self.keeps_environment {
            command.env("HOME", &home).env("SHELL", self.shell()).env("USER", user).env("LOGNAME", user);
        }
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_before_and_behind_the_user() {
        for (words, user, is_login, rest) in [
            (&["-", "azureuser"][..], Some("azureuser"), true, &[][..]),
            (&["azureuser", "-"], Some("azureuser"), true, &[]),
            (&["-l", "azureuser", "-c", "id -un"], Some("azureuser"), true, &["-c", "id -un"]),
            (&["--command=id", "azureuser"], Some("azureuser"), false, &["-c", "id"]),
            (&["azureuser", "-s", "/bin/sh", "-c", "a", "b"], Some("azureuser"), false, &["-c", "a", "b"]),
            (&["-"], None, true, &[]),
        ] {
            let call = Call::parse(words.iter().map(OsString::from)).unwrap();
            assert_eq!((call.user.as_deref(), call.is_login), (user, is_login), "{words:?}");
            assert_eq!(call.words, rest, "{words:?}");
        }
        assert!(Call::parse(["--nonsense"].iter().map(OsString::from)).is_err());
    }
}
