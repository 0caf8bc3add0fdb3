//! One thing that is wrong with a file, and where.

use std::borrow::Cow;

use serde::Serialize;

use crate::{error::Code, request::Position};

/// The names of all rules, besides the codes of what `run` itself refuses and what shellcheck finds. They are
/// stable: scripts and workflows name them.
pub const RULES: [&str; 38] = [
    "appends-again",
    "arguments-begin-with-bash",
    "asks-a-question",
    "assigned-user",
    "background-job",
    "bad-name",
    "block-arguments",
    "block-expands",
    "block-variable",
    "block-without-set-e",
    "byte-order-mark",
    "compute-type",
    "conda-before-profile",
    "crlf",
    "cron-expression",
    "custom-services",
    "eats-heredoc",
    "id-ignored",
    "idle-time",
    "inline-length",
    "long-timeout",
    "member-ignored",
    "name-ignored",
    "needless-sudo",
    "no-compute-instance",
    "read-without-input",
    "reboot",
    "recurrence",
    "relative-path",
    "same-script-twice",
    "schedules",
    "secret",
    "single-sign-on",
    "ssh-settings",
    "syntax-error",
    "time-zone",
    "timeout-nonem",
    "unterminated-heredoc",
];

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It runs, but hardly does what was meant.
    Warning,
    /// It is refused, or cannot work.
    Error,
}

impl Severity {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What was found. Positions count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The file as it was named by the caller.
    pub file: String,
    /// The script inside a request that the position counts in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// For a script inside a request: where that script stands in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script_at: Option<At>,
    /// How bad it is.
    pub severity: Severity,
    /// The stable name of the rule.
    pub rule: Cow<'static, str>,
    /// What was seen, one line.
    pub message: String,
    /// What to do about it, one line.
    pub hint: String,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct At {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl From<Position> for At {
    fn from(position: Position) -> Self {
        Self { line: position.line, column: position.column }
    }
}

fn is_known(rule: &str) -> bool {
    let is_shellchecks = rule.strip_prefix("SC").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    RULES.contains(&rule) || is_shellchecks || Code::ALL.iter().any(|code| code.to_string() == rule)
}

/// The findings of one file.
#[derive(Debug, Default)]
pub struct Findings {
    /// In the order in which they were found.
    pub list: Vec<Finding>,
}

impl Findings {
    /// Notes one, at a position of the file.
    pub fn add(
        &mut self,
        severity: Severity,
        rule: impl Into<Cow<'static, str>>,
        position: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let rule = rule.into();
        debug_assert!(is_known(&rule), "rule `{rule}` is not in the list of all rules");
        self.list.push(Finding {
            file: String::new(),
            script: None,
            line: position.line,
            column: position.column,
            script_at: None,
            severity,
            rule,
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Notes a warning.
    pub fn warn(
        &mut self,
        rule: impl Into<Cow<'static, str>>,
        at: Position,
        text: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Warning, rule, at, text, hint);
    }

    /// Notes an error.
    pub fn refuse(
        &mut self,
        rule: impl Into<Cow<'static, str>>,
        at: Position,
        text: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Error, rule, at, text, hint);
    }
}
