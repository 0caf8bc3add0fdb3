//! `check`: what is wrong with a request, a whole resource or a script, before anything runs.
//!
//! What a file is, is told by what is in it. Reading order: `document` (JSON) with `resource`, `schedule` and
//! `template`; `script` with its model and rules; `report`.

mod cron;
mod custom_services;
mod document;
mod finding;
mod firing;
mod idle_time;
mod report;
mod resource;
mod schedule;
mod script;
mod template;
mod zones;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;

use crate::cli::CheckArgs;
use crate::error::{Code, Error, Result};
use crate::show;

use document::{Asked, Checked};
pub use finding::RULES;
use finding::Severity;
use report::Report;
use script::{Role, Wanted};

/// More than any script or template has.
const LARGEST: u64 = 16 << 20;

/// Checks all files and prints what was found: 0 nothing, 1 warnings, 2 errors.
///
/// # Errors
/// Shellcheck that is wanted and not there. A file that cannot be read is one of the findings.
pub fn check(args: &CheckArgs) -> Result<u8> {
    if args.shellcheck && !script::has_shellcheck() {
        return Err(Error::new(
            Code::BadOption,
            "shellcheck is not installed",
            "install it: `apt-get install -y shellcheck`",
        ));
    }
    let asked = Asked { shellcheck: args.shellcheck, now: args.explain.then(Timestamp::now) };
    let mut report = Report::default();
    for file in &args.files {
        let name = file.to_string_lossy().into_owned();
        let checked = match read(file) {
            Ok(bytes) => one(&name, bytes, asked)?,
            Err(error) => Checked::refused(&error),
        };
        report.findings.extend(checked.findings.into_iter().map(|mut finding| {
            finding.file.clone_from(&name);
            finding
        }));
        report.explained.extend(checked.explained.into_iter().map(|(at, explained)| (name.clone(), at, explained)));
    }
    show::print_data(report.show(args.format()).as_bytes())?;
    Ok(Severity::exit_code(&report.findings))
}

fn one(name: &str, bytes: Vec<u8>, asked: Asked) -> Result<Checked> {
    // UTF-16 is refused as what the name says.
    let is_json = name.ends_with(".json") || document::is_document(&bytes);
    if is_json {
        return document::check(&bytes, asked);
    }
    let file = Path::new(name).file_name().map(|file| file.to_string_lossy().to_lowercase()).unwrap_or_default();
    let role = if file.contains("startup") { Role::Startup } else { Role::Once };
    let findings = script::check(bytes, Wanted { role, shellcheck: asked.shellcheck })?;
    Ok(Checked { findings, ..Checked::default() })
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let failed = |error: io::Error| {
        let hint = "name a request, a resource or a script, or `-` for standard input";
        Error::new(Code::RequestUnreadable, format!("cannot read `{}`", file.display()), hint).because(error)
    };
    let read = |bytes: &mut Vec<u8>| match file.as_os_str() == "-" {
        true => io::stdin().lock().take(LARGEST + 1).read_to_end(bytes),
        false => File::open(file)?.take(LARGEST + 1).read_to_end(bytes),
    };
    read(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        let message = format!("`{}` is larger than {} MiB", file.display(), LARGEST >> 20);
        return Err(Error::new(
            Code::TooLarge,
            message,
            "name a request, a resource or a script: none of them is that large",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
fn check_document(bytes: &[u8]) {
    let asked = Asked { shellcheck: false, now: Some(Timestamp::UNIX_EPOCH) };
    document::check(bytes, asked).expect("shellcheck is not asked");
}
