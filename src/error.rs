//! Why the agent refused a request or could not do its work.
//!
//! How a *script* ended is not an error but an [`Outcome`](crate::record::Outcome).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One refusal or failure: what went wrong, with which object, and the way out.
///
/// `Display` is the message alone, one line, in lower case and without its cause; the cause is in
/// `source()` and is printed once, by `main`.
#[derive(Debug)]
pub struct Error {
    /// The stable name of this kind of error.
    pub code: Code,
    message: String,
    hint: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    exit_code: u8,
}

/// The result of everything that can be refused.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with its message and the way out of it.
    pub fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into(), source: None, exit_code: code.exit_code() }
    }

    /// An error whose exit code is another than its kind's usual one.
    #[must_use]
    pub fn exiting_with(mut self, exit_code: u8) -> Self {
        self.exit_code = exit_code;
        self
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The way out, one line.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The message and its causes, joined by `: `, as it is printed and recorded.
    pub fn chain(&self) -> String {
        let mut text = one_line(&self.message);
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&one_line(&reason(&error)));
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.message))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Why something failed, as the line goes on that tells it: what the system says begins in lower case, without its number.
/// `input/output error`, not `Input/output error (os error 5)`.
pub fn reason(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let Some((said, number)) = text.rsplit_once(" (os error ") else { return text };
    if number.strip_suffix(')').is_none_or(|number| number.parse::<i32>().is_err()) {
        return text;
    }
    // Others may have put something of their own before it.
    let at = said.rfind(": ").map_or(0, |at| at + 2);
    let (before, said) = said.split_at(at);
    let mut rest = said.chars();
    let first = rest.next().map(|first| first.to_ascii_lowercase());
    before.chars().chain(first).chain(rest).collect()
}

/// Line ends and whatever else moves text instead of being some made visible: names come from requests and file systems.
pub fn one_line(text: &str) -> String {
    let is_shown = |c: char| c.is_control() || turns_text_around(c);
    text.chars().flat_map(|c| if is_shown(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Unicode's marks of direction ("Trojan source"): with them a line reads differently from what it says.
pub fn turns_text_around(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Declares [`Code`] with one documented row for each error.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident => $exit:literal,)+) => {
        /// The stable names of all errors, as `error.code` in the outcome (CONTRACT sections 8 and 11).
        /// They never change their meaning.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// All codes, in the order of their declaration.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The exit code of a `run` that was refused with this code. For what a script did, the
            /// outcome's own exit code counts, and this is only its usual value.
            pub fn exit_code(self) -> u8 {
                match self { $(Code::$variant => $exit,)+ }
            }
        }
    };
}

codes! {
    /// The request is not JSON, or not UTF-8.
    NotJson => 125,
    /// A member of the request has the wrong type.
    WrongType => 125,
    /// The document holds no `setupScripts`.
    NoSetupScripts => 125,
    /// A script has a member that the service does not know.
    UnknownMember => 125,
    /// `scriptSource` is neither `workspaceStorage` nor `inline`.
    UnknownScriptSource => 125,
    /// `scriptData` is missing, null or empty.
    EmptyScriptData => 125,
    /// `scriptData` does not fit its `scriptSource`: a URL, an ARM expression, plain text, a path under `inline`.
    BadScriptData => 125,
    /// The inline script is not base64.
    NotBase64 => 125,
    /// The request or the script is larger than allowed.
    TooLarge => 125,
    /// The script is empty.
    EmptyScript => 125,
    /// The script is not text: it holds a NUL byte or is a binary.
    NotText => 125,
    /// The script is UTF-16 text.
    Utf16 => 125,
    /// The script's path leaves the share.
    OutsideShare => 125,
    /// The script's name does not end in `.sh`.
    NotSh => 125,
    /// There is no such script on the share.
    ScriptNotFound => 127,
    /// The script's path names a folder.
    IsAFolder => 126,
    /// The script's path names a device, FIFO or socket.
    NotARegularFile => 126,
    /// The script cannot be read.
    Unreadable => 126,
    /// The interpreter of the script's first line does not exist or cannot be executed.
    CannotStart => 126,
    /// The share was not mounted within `--share-wait`.
    ShareNotMounted => 125,
    /// The share did not answer within `--share-wait`.
    ShareNotAnswering => 125,
    /// The timeout is not a DURATION of GNU `timeout`.
    BadTimeout => 125,
    /// A quote in `scriptArguments` is not closed.
    UnclosedQuote => 125,
    /// `scriptArguments` cannot be passed on: a NUL byte in it.
    BadArguments => 125,
    /// Resource group, workspace or instance name is not known.
    MissingIdentity => 125,
    /// Resource group, workspace or instance name breaks the service's rules.
    BadIdentity => 125,
    /// `--user` does not exist on this machine.
    NoSuchUser => 125,
    /// `run` was called without root.
    NotRoot => 125,
    /// Someone other than root may write the request, the config file or the state directory.
    WritableByOthers => 125,
    /// There is no request: none given, none in `/etc/ci-setup-agent`, none kept.
    NoRequest => 125,
    /// The request file cannot be read.
    RequestUnreadable => 125,
    /// The config file has a key that is not known.
    UnknownConfigKey => 125,
    /// The config file cannot be read or has a bad value.
    BadConfig => 125,
    /// An option has a bad value.
    BadOption => 125,
    /// The state directory cannot be written.
    StateNotWritable => 125,
    /// The state directory was made by a newer version of the agent.
    StateNewer => 125,
    /// `try` refuses a script that names sudo by an absolute path.
    AbsoluteSudo => 125,
    /// `run` was called by the script that another `run` executes: it would wait for itself.
    NestedRun => 125,
    /// There is no such run.
    NoSuchRun => 125,
    /// What is asked for was not recorded, or is only known on the instance, to root.
    NotRecorded => 125,
    /// The agent itself failed.
    Internal => 125,
    /// The script ended with an exit code other than 0.
    ScriptFailed => 1,
    /// The script was ended by a signal that the agent did not send.
    ScriptKilled => 128,
    /// The script was still running at its deadline.
    TimedOut => 124,
    /// The agent was asked to stop, by a signal.
    Stopped => 143,
    /// The agent or the machine went away while the script was running.
    Interrupted => 137,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_becomes_a_part_of_the_line() {
        let system = std::io::Error::from_raw_os_error(2);
        assert_eq!(reason(&system), "no such file or directory");
        assert_eq!(reason(&format!("cannot open `A`: {system}")), "cannot open `A`: no such file or directory");
        for own in ["UTF-8 is meant", "A (os error x)"] {
            assert_eq!(reason(&own), own);
        }
    }

    #[test]
    fn a_name_stays_on_its_line_and_reads_as_it_says() {
        assert_eq!(one_line("a\r\n\u{1b}[2J\u{9b}"), r"a\r\n\u{1b}[2J\u{9b}");
        assert_eq!(one_line("evil\u{202e}hs.txt\u{2069}\u{200f}"), r"evil\u{202e}hs.txt\u{2069}\u{200f}");
        for own in ["grün 自動 🎉", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}", "\u{1f469}\u{200d}\u{1f4bb}", "it's \\"] {
            assert_eq!(one_line(own), own);
        }
        for c in (0..0x0011_0000).filter_map(char::from_u32).filter(|c| turns_text_around(*c)) {
            assert_eq!(one_line(&c.to_string()), format!("\\u{{{:x}}}", u32::from(c)));
        }
    }
}
