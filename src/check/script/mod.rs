//! A script: its text, its shells, and every rule over them.

mod blocks;
mod ignore;
mod launch;
mod mapped;
mod model;
mod rules;
mod shellcheck;
mod syntax;
mod walk;

use super::finding::{Finding, Findings, Severity};
use crate::error::Result;
use crate::request::Position;
use crate::script::text;

pub use rules::secrets::{HINT as SECRET_HINT, in_text as secret_in};
pub use shellcheck::is_installed as has_shellcheck;

/// Which of the two scripts it is, where that is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Role {
    /// Not known, or the one that runs once.
    #[default]
    Once,
    /// Runs at every start.
    Startup,
}

/// What to look for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// When it runs.
    pub role: Role,
    /// Ask shellcheck as well.
    pub shellcheck: bool,
}

/// Says what is wrong with a script; findings are in the order of its lines.
///
/// # Errors
/// Only where shellcheck is wanted and cannot be asked.
pub fn check(bytes: Vec<u8>, wanted: Wanted) -> Result<Vec<Finding>> {
    let mut findings = Findings::default();
    let start = Position { line: 1, column: 1 };
    let text = match text::check(bytes, "") {
        Ok(text) => text,
        Err(error) => {
            findings.refuse(error.code.to_string(), start, without_name(&error.to_string()), error.hint());
            return Ok(findings.list);
        }
    };
    for repair in &text.repairs {
        findings.warn(repair.code.clone(), start, without_name(&repair.message), repair.hint.clone());
    }
    let text = String::from_utf8_lossy(&text.text).into_owned();
    if is_shell(&text) {
        let shell = blocks::read(text.clone());
        let mut notes = rules::Notes::new(&text, &mut findings);
        syntax::check(&shell, &mut notes);
        rules::check(&shell, wanted.role, &mut notes);
        if wanted.shellcheck {
            shellcheck::check(&shell, &mut notes)?;
        }
    }
    ignore::keep(&text, &mut findings.list);
    findings.list.sort_by_key(|finding| (finding.line, finding.column));
    Ok(findings.list)
}

/// Only shells of bash's kind are understood; a script for python or fish is only text.
fn is_shell(text: &str) -> bool {
    let Some(line) = text.lines().next().and_then(|line| line.strip_prefix("#!")) else { return true };
    let mut words = line.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let program = words.next().unwrap_or_default();
    let name = if program == "env" { words.find(|word| !word.starts_with('-')).unwrap_or_default() } else { program };
    matches!(name, "" | "bash" | "sh" | "dash" | "rbash")
}

/// The messages of `script::text` name the script; here the line begins with it.
fn without_name(message: &str) -> String {
    message.replacen("script `` ", "script ", 1)
}

impl Severity {
    /// The worst of several findings, as the exit code says it.
    pub fn exit_code(findings: &[Finding]) -> u8 {
        match findings.iter().map(|finding| finding.severity).max() {
            Some(Self::Error) => 2,
            Some(Self::Warning) => 1,
            None => 0,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn found(text: &str) -> Vec<Finding> {
        check(text.as_bytes().to_vec(), Wanted::default()).unwrap()
    }

    pub fn rules_in(text: &str) -> Vec<String> {
        found(text).into_iter().map(|finding| finding.rule.into_owned()).collect()
    }

    pub fn rules_in_startup(text: &str) -> Vec<String> {
        let wanted = Wanted { role: Role::Startup, shellcheck: false };
        let found = check(text.as_bytes().to_vec(), wanted).unwrap();
        found.into_iter().map(|finding| finding.rule.into_owned()).collect()
    }

    #[test]
    fn text_that_is_put_right_is_a_warning_and_what_is_no_text_an_error() {
        assert_eq!(rules_in("echo a\r\necho b\r\n"), ["crlf"]);
        assert_eq!(rules_in("\u{feff}echo a\n"), ["byte-order-mark"]);
        assert_eq!(rules_in(" \n"), ["empty-script"]);
        assert_eq!(rules_in("a\0b"), ["not-text"]);
        let utf16 = check(b"\xff\xfee\0c\0h\0o\0".to_vec(), Wanted::default()).unwrap();
        assert_eq!((utf16[0].rule.as_ref(), utf16[0].severity), ("utf16", Severity::Error));
        assert_eq!(utf16[0].message, "script is UTF-16 text");
    }

    #[test]
    fn scripts_for_other_programs_are_only_text() {
        assert!(rules_in("#!/usr/bin/env python3\nif x:\n  reboot\n").is_empty());
        assert_eq!(rules_in("#!/usr/bin/env -S bash -e\nreboot\n"), ["reboot"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([a-zü1-9 \n;&|(){}<>'\"`$\\\\#!=-]|if |fi|case |esac|<<'E'|<<E|\nE\n|\\(\\(|\\[\\[ |bash -c |sudo -u x -i |\\$\\(|x='|>> /etc/x){0,40}") {
            // Without asking bash, which takes its time.
            let shell = blocks::read(text.clone());
            let mut findings = Findings::default();
            rules::check(&shell, Role::Startup, &mut rules::Notes::new(&text, &mut findings));
            ignore::keep(&text, &mut findings.list);
        }

        #[test]
        fn no_document_makes_it_panic(text in "([\\[\\]{}:, ü]|\"\\[concat\\('\"|\"resources\"|\"contentVersion\"|\"type\"|\"computes\"|\"x\"|1|null){0,30}") {
            crate::check::check_document(text.as_bytes());
        }
    }
}
