//! The stand-in for sudo in a rehearsal: gives a block its clean environment and its own throw-away home,
//! and lets everything run as whoever called.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    iter::Peekable,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::steps;

/// The first argument by which the agent knows that it is called as sudo.
pub(super) const MARK: &str = "__play-sudo";

/// What sudo's `secure_path` is on Debian and Ubuntu.
pub(super) const SECURE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Plays sudo or su if this process was called as such, and returns the exit code; otherwise does nothing.
pub fn stand_in() -> Option<u8> {
    let mut words = env::args_os().skip(1);
    match words.next()? {
        mark if mark == MARK => {}
        mark if mark == super::su::MARK => return Some(super::su::play(words)),
        _ => return None,
    }
    let room = PathBuf::from(words.next()?);
    let call = match Call::parse(words) {
        Ok(call) => call,
        Err(message) => {
            eprintln!("sudo: {message}");
            return Some(1);
        }
    };
    if call.is_question || call.resets_timestamp && call.is_bare() {
        return Some(0);
    }
    if call.is_bare() {
        eprintln!("usage: sudo [-EHbinSs] [-u user] [VAR=value] [-i | -s] [command [arg ...]]");
        return Some(1);
    }
    let error = match call.command(&room) {
        Ok(mut command) if call.in_background => match command.spawn() {
            Ok(_) => return Some(0),
            Err(error) => error,
        },
        Ok(mut command) => command.exec(),
        Err(error) => error,
    };
    let name = call.words.first().cloned().unwrap_or_default();
    let why = match error.kind() {
        // A folder, or a file that cannot be executed: sudo looks for a program, and that is none.
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => "command not found".to_owned(),
        _ => crate::error::reason(&error),
    };
    eprintln!("sudo: {}: {why}", name.to_string_lossy());
    Some(1)
}

/// Whether a shell stands between sudo and the command.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Shell {
    #[default]
    No,
    /// `-s`
    Plain,
    /// `-i`
    Login,
}

/// What a block gets of its caller's environment, besides what sudo lets through in any case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Kept {
    #[default]
    Nothing,
    /// `--preserve-env=LIST`
    Listed(Vec<OsString>),
    /// `-E`
    All,
}

#[derive(Debug, Default)]
struct Call {
    user: Option<String>,
    shell: Shell,
    kept: Kept,
    sets_home: bool,
    in_background: bool,
    is_question: bool,
    resets_timestamp: bool,
    variables: Vec<(OsString, OsString)>,
    words: Vec<OsString>,
}

impl Call {
    /// Reads sudo's own options, variables and the command.
    fn parse(words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut call = Self::default();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let text = word.to_string_lossy().into_owned();
            if text == "--" {
                call.words.extend(words.by_ref());
            } else if let Some(long) = text.strip_prefix("--") {
                let (name, value) =
                    long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned())));
                call.long(name, value, &mut words)?;
            } else if text.len() > 1 && text.starts_with('-') {
                call.short(&text[1..], &mut words)?;
            } else if let Some((name, value)) = variable(&word) {
                call.variables.push((name, value));
            } else {
                call.words.push(word);
                call.words.extend(words.by_ref());
            }
        }
        Ok(call)
    }

    fn long(
        &mut self,
        name: &str,
        value: Option<String>,
        words: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let mut needed = || match &value {
            Some(value) => Ok(value.clone()),
            None => words
                .next()
                .map(|word| word.to_string_lossy().into_owned())
                .ok_or(format!("option '--{name}' requires an argument")),
        };
        match name {
            "user" => self.user = Some(needed()?),
            "chdir" | "chroot" | "close-from" | "command-timeout" => return Err(not_permitted(&format!("--{name}"))),
            "group" | "host" | "prompt" | "role" | "type" => drop(needed()?),
            "login" => self.shell = Shell::Login,
            "shell" => self.shell = Shell::Plain,
            "preserve-env" => match (&value, &mut self.kept) {
                (None, kept) => *kept = Kept::All,
                (Some(names), Kept::Listed(known)) => known.extend(names.split(',').map(OsString::from)),
                (Some(names), kept) => *kept = Kept::Listed(names.split(',').map(OsString::from).collect()),
            },
            "set-home" => self.sets_home = true,
            "background" => self.in_background = true,
            "list" | "validate" | "version" | "remove-timestamp" | "help" => self.is_question = true,
            "reset-timestamp" => self.resets_timestamp = true,
            "non-interactive" | "stdin" | "askpass" | "preserve-groups" | "no-update" | "bell" => {}
            _ => return Err(format!("unrecognized option '--{name}'")),
        }
        Ok(())
    }

    fn short(&mut self, letters: &str, words: &mut Peekable<impl Iterator<Item = OsString>>) -> Result<(), String> {
        for (index, letter) in letters.char_indices() {
            match letter {
                'C' | 'D' | 'R' | 'T' => return Err(not_permitted(&format!("-{letter}"))),
                'h' if letters.len() == 1 && words.peek().is_none() => self.is_question = true,
                'u' | 'g' | 'h' | 'p' | 'r' | 't' | 'U' => {
                    let rest = &letters[index + 1..];
                    let value = if rest.is_empty() {
                        words.next().map(|word| word.to_string_lossy().into_owned())
                    } else {
                        Some(rest.to_owned())
                    };
                    let value = value.ok_or_else(|| format!("option requires an argument -- '{letter}'"))?;
                    if letter == 'u' {
                        self.user = Some(value);
                    }
                    return Ok(());
                }
                'i' => self.shell = Shell::Login,
                's' => self.shell = Shell::Plain,
                'E' => self.kept = Kept::All,
                'H' => self.sets_home = true,
                'b' => self.in_background = true,
                'k' => self.resets_timestamp = true,
                'l' | 'v' | 'V' | 'K' => self.is_question = true,
                'n' | 'S' | 'A' | 'P' | 'N' | 'B' => {}
                _ => return Err(format!("invalid option -- '{letter}'")),
            }
        }
        Ok(())
    }

    /// As the rule for the real sudo has it.
    fn starts_bash(&self) -> bool {
        let is_bash = |word: &OsString| ["bash", "/bin/bash", "/usr/bin/bash"].iter().any(|name| word == name);
        self.shell != Shell::No || self.words.first().is_some_and(is_bash)
    }

    /// Whether there is nothing to start.
    fn is_bare(&self) -> bool {
        self.words.is_empty() && self.shell == Shell::No
    }

    fn command(&self, room: &Path) -> io::Result<Command> {
        let user = self.user.as_deref().unwrap_or("root").trim_start_matches('#');
        let home = make_home(&room.join("home"), user)?;
        let bash = OsStr::new("/bin/bash");
        let mut command = match (self.shell, &self.words[..]) {
            (Shell::No, [program, rest @ ..]) => {
                let mut command = Command::new(program);
                command.args(rest);
                command
            }
            (Shell::No, []) => return Err(io::ErrorKind::InvalidInput.into()),
            (Shell::Plain | Shell::Login, words) => {
                let mut command = Command::new(bash);
                if self.shell == Shell::Login {
                    command.arg0("-bash");
                }
                if !words.is_empty() {
                    command.arg("-c").arg(escaped(words));
                }
                command
            }
        };
        if self.shell == Shell::Login {
            command.current_dir(&home);
        }
        let path = format!("{}:{SECURE_PATH}", room.join("bin").display());
        let listed: &[OsString] = match &self.kept {
            Kept::Nothing | Kept::All => &[],
            Kept::Listed(names) => names,
        };
        if self.kept != Kept::All || self.shell == Shell::Login {
            command.env_clear().envs(kept_variables(listed)).env("MAIL", format!("/var/mail/{user}"));
        }
        // With -E alone the caller's home stays, as many a block has found out.
        if self.kept != Kept::All || self.sets_home || self.shell == Shell::Login {
            command.env("HOME", &home);
        }
        command.env("USER", user).env("LOGNAME", user).env("SHELL", bash).env("PATH", path);
        // On an instance the caller is root, or the user of the block around this one.
        command.env("SUDO_USER", env::var_os("USER").unwrap_or_else(|| "root".into()));
        command.env("SUDO_UID", nix::unistd::getuid().to_string());
        command
            .env("SUDO_GID", nix::unistd::getgid().to_string())
            .env("SUDO_COMMAND", self.words.join(OsStr::new(" ")));
        if self.starts_bash()
            && let Some(value) = steps::hook::variable_in(&hook(room))
        {
            command.env("BASH_ENV", value);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

/// The folder in a rehearsal's room where the hook that records steps lies, if there is one.
pub(super) fn hook(room: &Path) -> PathBuf {
    room.join("steps")
}

/// `NAME=value` before the command.
fn variable(word: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = word.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&bytes[..equals], &bytes[equals + 1..]);
    let is_name = name.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_name.then(|| (OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
}

/// What sudo's policy on Debian and Ubuntu refuses to everybody, root included.
fn not_permitted(option: &str) -> String {
    format!("you are not permitted to use the {option} option")
}

/// What sudo's `env_reset` keeps, and our rule for `CI_*`.
fn kept_variables(listed: &[OsString]) -> BTreeMap<OsString, OsString> {
    let is_kept = |name: &OsString| {
        if listed.contains(name) {
            return true;
        }
        let name = name.to_string_lossy();
        name.starts_with("CI_")
            || name.starts_with("LC_")
            || matches!(&*name, "TERM" | "LANG" | "LANGUAGE" | "COLORTERM" | "PS1" | "PS2")
    };
    env::vars_os().filter(|(name, _)| is_kept(name)).collect()
}

/// The command for a shell's `-c`, quoted as sudo does it: everything but letters, digits, `_`, `-` and `$`
/// gets a backslash.
fn escaped(words: &[OsString]) -> OsString {
    let mut text = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            text.push(b' ');
        }
        for byte in word.as_bytes() {
            if !(byte.is_ascii_alphanumeric() || b"_-$".contains(byte)) {
                text.push(b'\\');
            }
            text.push(*byte);
        }
    }
    OsStr::from_bytes(&text).to_owned()
}

/// A user's throw-away home, made at its first use. Its profile keeps the stand-in before the real sudo,
/// since `/etc/profile` sets `PATH` anew; root's has the folders of root, whoever it is played by.
pub(super) fn make_home(homes: &Path, user: &str) -> io::Result<PathBuf> {
    let name: String = user.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let home = homes.join(if name.is_empty() { "nobody" } else { &name });
    if !home.exists() {
        fs::create_dir_all(&home)?;
        let bin = super::quoted(&homes.with_file_name("bin"));
        let rest = if user == "root" { SECURE_PATH } else { "$PATH" };
        fs::write(home.join(".profile"), format!("PATH={bin}:{rest}\n"))?;
    }
    Ok(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Call {
        Call::parse(words.iter().map(OsString::from)).unwrap()
    }

    #[test]
    fn options_are_read_in_every_spelling_that_scripts_use() {
        for words in [
            &["-u", "azureuser", "-i"][..],
            &["-uazureuser", "-i"],
            &["-iu", "azureuser"],
            &["--user=azureuser", "--login"],
            &["-H", "-u", "azureuser", "-i", "--"],
        ] {
            let call = parse(words);
            assert_eq!((call.user.as_deref(), call.shell), (Some("azureuser"), Shell::Login), "{words:?}");
        }
    }

    #[test]
    fn variables_and_the_commands_own_options_stay_apart() {
        let call = parse(&["-E", "A=1", "B=x y", "env", "-u", "X", "C=2"]);
        assert!(call.kept == Kept::All && call.user.is_none());
        assert_eq!(call.variables.len(), 2);
        assert_eq!(call.words, ["env", "-u", "X", "C=2"]);
    }

    #[test]
    fn a_command_for_a_shell_is_quoted_as_sudo_does() {
        let words = ["echo".into(), "a b".into(), "$HOME;".into()];
        assert_eq!(escaped(&words), OsStr::new("echo a\\ b $HOME\\;"));
    }
}
