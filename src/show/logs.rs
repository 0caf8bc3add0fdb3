//! `logs`: the output of a run.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

use super::records::{Records, wait_for_change};
use crate::{
    cli::LogsArgs,
    error::{Code, Error, Result},
    settings::Settings,
};

/// Prints the output of a run; with `--follow` until the run has ended.
///
/// # Errors
/// `no-such-run`, `internal`. A reader that is gone is none.
pub fn logs(settings: &Settings, args: &LogsArgs) -> Result<u8> {
    let records = Records::open(settings)?;
    let entry = records.one(args.run.as_deref())?;
    let run = entry.outcome.run_id.clone();
    let [log, tail] = entry.logs();
    match print(&records, &run, &log, &tail, args.follow) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => {
            let message = format!("cannot print the output of `{run}`");
            Err(Error::new(Code::Internal, message, "see whether its folder can be read").because(error))
        }
        Ok(()) => Ok(0),
    }
}

fn print(records: &Records, run: &str, log: &Path, tail: &Path, follows: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut file = match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !follows => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The copy on the share may not have begun.
            wait_for_change(log.parent().into_iter(), Duration::from_secs(1), None);
            File::open(log)?
        }
        result => result?,
    };
    loop {
        // Asked before the copy: what is written before the end is then copied for sure.
        let has_ended = records.one(Some(run)).map_or(true, |entry| entry.outcome.state.is_final());
        copy(&mut file, &mut out)?;
        if has_ended || !follows {
            break;
        }
        wait_for_change(log.parent().into_iter(), Duration::from_secs(1), None);
    }
    if let Ok(mut tail) = File::open(tail) {
        copy(&mut tail, &mut out)?;
    }
    out.flush()
}

/// Copies what is there, and brings it out.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    io::copy(from, to)?;
    to.flush()
}
