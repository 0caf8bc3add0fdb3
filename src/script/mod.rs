//! What will be run: the script's text, its place, its interpreter.

pub mod apt;
pub mod interpreter;
pub mod share;
pub mod text;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use self::interpreter::Interpreter;
use crate::{
    error::{Code, Error, Result},
    record::outcome::{Source, SourceKind},
    request::Warning,
};

/// A script that may be started.
#[derive(Clone, Debug)]
pub struct Script {
    /// Where it came from, and what it is by its hash.
    pub source: Source,
    /// Its text as it runs.
    pub text: Vec<u8>,
    /// The program that runs it.
    pub interpreter: Interpreter,
    /// The folder in which it starts.
    pub folder: PathBuf,
    /// What `$0` names: its own path on the share; `None` for an inline script, whose only path is that
    /// of the copy in the state directory.
    pub path: Option<PathBuf>,
    /// Whether the text had to be put right, so that a private copy runs instead of the file.
    pub is_repaired: bool,
    /// What was put right.
    pub warnings: Vec<Warning>,
}

/// A script's text, found to be one, wherever it came from.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its hash and size before anything was put right.
    pub sha256: String,
    /// Size as found.
    pub bytes: u64,
    /// As it runs.
    pub text: Vec<u8>,
    /// Whether `text` differs from what was found.
    pub is_repaired: bool,
    /// What was put right.
    pub warnings: Vec<Warning>,
    /// The program of the first line.
    pub interpreter: Interpreter,
}

impl Checked {
    /// Checks the text of a script (CONTRACT 3.1).
    ///
    /// # Errors
    /// `empty-script`, `utf16`, `not-text`, `cannot-start` (its interpreter).
    pub fn new(found: Vec<u8>, name: &str) -> Result<Self> {
        let sha256 = sha256(&found);
        let bytes = found.len() as u64;
        let text::Text { text, repairs } = text::check(found, name)?;
        let interpreter = Interpreter::of(&text)?;
        Ok(Self { sha256, bytes, text, is_repaired: !repairs.is_empty(), warnings: repairs, interpreter })
    }

    /// The script in its place.
    pub fn placed(self, kind: SourceKind, share_path: Option<&str>, folder: &Path, path: Option<PathBuf>) -> Script {
        Script {
            source: Source {
                kind,
                path: share_path.map(str::to_owned),
                sha256: Some(self.sha256),
                bytes: Some(self.bytes),
            },
            text: self.text,
            interpreter: self.interpreter,
            folder: folder.to_owned(),
            path,
            is_repaired: self.is_repaired,
            warnings: self.warnings,
        }
    }
}

impl Script {
    /// The text so that `$0` and `BASH_SOURCE` name `path` although bash reads it from another file. Line numbers
    /// stay. Bash lets nobody set `BASH_SOURCE`, and a script may compare it with `$0` to see whether it is sourced.
    pub fn text_named(&self, path: &Path) -> Vec<u8> {
        if !self.interpreter.is_bash() {
            return self.text.clone();
        }
        let mut text = format!("BASH_ARGV0={}; ", quoted(path)).into_bytes();
        text.extend_from_slice(&with_own_name(&self.text));
        text
    }

    /// What the interpreter is given before the script's arguments so that it reads `file` and `$0` names the script.
    pub fn operands(&self, file: &Path) -> Vec<OsString> {
        match &self.path {
            // A plain shell cannot rename itself.
            Some(path) if self.is_repaired && self.interpreter.is_sh() => {
                vec!["-c".into(), format!(". {}", quoted(file)).into(), path.into()]
            }
            Some(_) | None => vec![file.into()],
        }
    }
}

/// In quotes for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

/// `BASH_SOURCE` and `BASH_SOURCE[0]` as `BASH_ARGV0`, which in a script that is not sourced is the same.
fn with_own_name(text: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"BASH_SOURCE";
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let (mut named, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.windows(NAME.len()).position(|word| word == NAME) {
        let (before, after) = (&rest[..at], &rest[at + NAME.len()..]);
        named.extend_from_slice(before);
        let (is_own, after) = match after.strip_prefix(b"[0]") {
            Some(after) => (true, after),
            None => (after.first() != Some(&b'['), after),
        };
        let is_own = is_own && !goes_on(before.last()) && !goes_on(after.first());
        named.extend_from_slice(if is_own { b"BASH_ARGV0" } else { NAME });
        rest = if is_own { after } else { &rest[at + NAME.len()..] };
    }
    named.extend_from_slice(rest);
    named
}

/// Hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Users that the script's text names after `sudo -u`, besides root, in the order of their first mention.
pub fn sudo_users(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut users: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let is_sudo = word.rsplit(|c: char| "/;&|($`".contains(c)).next() == Some("sudo");
            let Some(name) = is_sudo.then(|| user_of_sudo(&mut words)).flatten() else { continue };
            let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if is_plain && name != "root" && !users.iter().any(|known| known == name) {
                users.push(name.to_owned());
            }
        }
    }
    users
}

/// The value of `-u` among sudo's own options; what follows them is the command with options of its own.
fn user_of_sudo<'a>(words: &mut std::str::SplitWhitespace<'a>) -> Option<&'a str> {
    /// Options whose value is the next word.
    const WITH_VALUE: &str = "ghpCDRTrtU";
    let mut ahead = words.clone();
    while let Some(word) = ahead.next() {
        let is_variable = word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && !name.starts_with('-'));
        let name = match word.strip_prefix('-') {
            None if is_variable => None,
            None => return None,
            Some("-") => return None,
            Some("-user") => ahead.next(),
            Some(long) if long.starts_with('-') => long.strip_prefix("-user="),
            Some(letters) => match letters.split_once('u') {
                Some((before, _)) if before.contains(|c| WITH_VALUE.contains(c)) => None,
                Some((_, "")) => ahead.next(),
                Some((_, name)) => Some(name),
                None => {
                    if letters.ends_with(|c| WITH_VALUE.contains(c)) {
                        ahead.next();
                    }
                    None
                }
            },
        };
        *words = ahead.clone();
        if name.is_some() {
            return name;
        }
    }
    None
}

/// Whether the text uses sudo at all.
pub fn uses_sudo(text: &[u8]) -> bool {
    let code = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii_start().starts_with(b"#"));
    code.flat_map(words).any(|word| word.rsplit('/').next() == Some("sudo"))
}

/// The first absolute path of sudo in the text, such as `/usr/bin/sudo`.
///
/// # Errors
/// `absolute-sudo`: a rehearsal could not play such a call.
pub fn refuse_absolute_sudo(text: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(text);
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.trim_start();
        if !code.starts_with('#') && words(code.as_bytes()).any(|word| word.starts_with('/') && word.ends_with("/sudo"))
        {
            return Err(Error::new(
                Code::AbsoluteSudo,
                format!(
                    "line {number} of the script names sudo by an absolute path, and a rehearsal plays sudo by a stand-in"
                ),
                "write `sudo`; `PATH` holds it on every instance",
            ));
        }
    }
    Ok(())
}

/// Words of a script, roughly: what is left between white space and shell punctuation.
fn words(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|byte| b" \t\n;&|()`\"'{}$<>=".contains(byte)).filter_map(|word| std::str::from_utf8(word).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_sudo_blocks_are_found_in_every_spelling() {
        let text = b"sudo -u azureuser -i <<'EOF'\nEOF\nsudo -H -u datasci bash\nsudo --user=ops id\nsudo -unobody id\n# sudo -u ghost\nsudo -u root id\nsudo -u \"$WHO\" id\nsudo id -un; sudo mysql -u admin; sudo -g adm -iu late A=1 id\nx=$(sudo -n -u first id) && sudo -- id -u last\n";
        assert_eq!(sudo_users(text), ["azureuser", "datasci", "ops", "nobody", "late", "first"]);
    }

    #[test]
    #[rustfmt::skip] // a table
    fn a_copy_names_itself_as_the_script_does() {
        for (text, expected) in [
            ("dirname \"${BASH_SOURCE[0]}\"", "dirname \"${BASH_ARGV0}\""),
            ("[[ $BASH_SOURCE == $0 ]]", "[[ $BASH_ARGV0 == $0 ]]"),
            ("${BASH_SOURCE[0]%/*}/${BASH_SOURCE:-$0}", "${BASH_ARGV0%/*}/${BASH_ARGV0:-$0}"),
            ("${BASH_SOURCE[@]} ${BASH_SOURCE[1]}", "${BASH_SOURCE[@]} ${BASH_SOURCE[1]}"),
            ("MY_BASH_SOURCE BASH_SOURCES $BASH_SOURCE", "MY_BASH_SOURCE BASH_SOURCES $BASH_ARGV0"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8(with_own_name(text.as_bytes())).unwrap(), expected);
        }
    }

    #[test]
    fn sudo_by_an_absolute_path_is_refused_with_its_line() {
        let error = refuse_absolute_sudo(b"echo\n/usr/bin/sudo id\n").unwrap_err();
        assert_eq!(error.code, Code::AbsoluteSudo);
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(refuse_absolute_sudo(b"x=$(/bin/sudo id)\n").is_err());
        assert!(refuse_absolute_sudo(b"# /usr/bin/sudo\nsudo id; cat /etc/sudoers\n").is_ok());
    }
}
