//! What people see.

pub mod detail;
pub mod failing;
pub mod harmless;
pub mod kept;
pub mod lines;
pub mod logs;
pub mod progress;
pub mod records;
pub mod status;
pub mod usage;

use std::io::{self, Write};

use crate::{
    error::{Code, Error, Result},
    record::{
        Outcome,
        outcome::{ErrorReport, State},
        words::human,
    },
    request::Warning,
};

/// Prints an error and its way out, one line each.
pub fn print_error(error: &Error) {
    report_error(&ErrorReport::from(error));
}

/// Prints an error as the outcome has it.
pub fn report_error(error: &ErrorReport) {
    eprintln(&format!("error: {}\nhint: {}", error.message, error.hint));
}

/// Prints a warning and its way out, one line each.
pub fn print_warning(warning: &Warning) {
    eprintln(&format!("warning: {}\nhint: {}", warning.message, warning.hint));
}

/// Prints a line for people. Whoever does not want to read it may have closed it.
pub fn eprintln(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints data to standard output.
///
/// # Errors
/// `internal`; a reader that is gone is none.
pub fn print_data(data: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let hint = "see where standard output goes";
            Err(Error::new(Code::Internal, "cannot write to standard output", hint).because(error))
        }
        _ => Ok(()),
    }
}

/// Prints an outcome as one line of JSON.
///
/// # Errors
/// As for [`print_data`].
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    print_data(&text)
}

/// Tells on stderr how a run ended: its warnings, then one line, or error and hint.
pub fn tell_end(outcome: &Outcome) {
    outcome.warnings.iter().for_each(print_warning);
    if outcome.state == State::Succeeded {
        let took = human(outcome.elapsed_seconds.unwrap_or_default());
        eprintln(&format!("{}: succeeded after {took}", outcome.run_id));
    }
    if let Some(error) = &outcome.error {
        report_error(error);
    }
    let left = outcome.processes.left_count;
    if left > 0 {
        let (noun, verb) = if left == 1 { ("process", "is") } else { ("processes", "are") };
        eprintln(&format!("note: {left} {noun} of the script {verb} still running"));
    }
    if let (Some(path), true) = (&outcome.output.mirror_path, outcome.state != State::Succeeded) {
        eprintln(&format!("note: the log is in `{path}` on the share"));
    }
}
