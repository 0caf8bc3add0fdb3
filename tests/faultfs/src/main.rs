//! `faultfs BACKING MOUNTPOINT --control SOCKET [--options JSON]` serves a share until SIGTERM;
//! `faultfs ask SOCKET JSON` tells it what to do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use faultfs::{Options, Serve};

const USAGE: &str = "usage: faultfs BACKING MOUNTPOINT --control SOCKET [--options JSON]
       faultfs ask SOCKET JSON    such as '\"Heal\"' or '{\"Counts\":\"Logs\"}'";

fn main() -> ExitCode {
    faultfs::serve_if_asked();
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> std::io::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (backing, mountpoint, control, options) = match arguments[..] {
        ["ask", control, question] => {
            println!("{}", faultfs::ask(Path::new(control), question)?);
            return Ok(());
        }
        [backing, mountpoint, "--control", control] => (backing, mountpoint, control, Options::default()),
        [backing, mountpoint, "--control", control, "--options", json] => {
            (backing, mountpoint, control, serde_json::from_str(json)?)
        }
        _ => return Err(std::io::Error::other(USAGE)),
    };
    faultfs::serve(Serve {
        backing: PathBuf::from(backing),
        mountpoint: PathBuf::from(mountpoint),
        control: PathBuf::from(control),
        options,
        with_stdin: false,
    })
}
