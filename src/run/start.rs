//! Starting the script's first process.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::stat::{Mode, umask},
    unistd::{Pid, execve, setsid},
};

use super::{cgroup::Leaf, environment::Environment};
use crate::{
    script::Script,
    sys::{descriptors, fork, signals},
};

/// All that `execve(2)` needs, made before the fork.
#[derive(Clone, Debug)]
pub struct Invocation {
    program: CString,
    words: Vec<CString>,
    environment: Vec<CString>,
    folder: PathBuf,
}

/// A first process on its way: forked, and maybe not yet the script's.
#[derive(Debug)]
pub struct Starting {
    /// Its pid, for good.
    pub pid: Pid,
    failure: File,
}

/// What came of the start.
#[derive(Debug)]
pub enum Started {
    /// The interpreter runs.
    Running,
    /// It could not be started.
    Failed {
        /// What could not be done.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Not known yet: the working directory may be on a share that hangs.
    NotYet,
}

const STAGES: [&str; 4] =
    ["prepare the process of", "enter the working directory of", "start the interpreter of", "start"];

impl Invocation {
    /// `INTERPRETER [OPTION] SCRIPT ARG…`, where the interpreter reads `file`.
    ///
    /// # Errors
    /// Where a word holds a NUL byte.
    pub fn new(script: &Script, file: &Path, arguments: &[String], environment: &Environment) -> io::Result<Self> {
        let word = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
        let program = word(script.interpreter.program.as_os_str().as_bytes())?;
        let mut words = vec![program.clone()];
        if let Some(option) = &script.interpreter.option {
            words.push(word(option.as_bytes())?);
        }
        for operand in script.operands(file) {
            words.push(word(operand.as_bytes())?);
        }
        for argument in arguments {
            words.push(word(argument.as_bytes())?);
        }
        let mut environment = environment.clone();
        environment.set("PWD", &script.folder);
        Ok(Self { program, words, environment: environment.to_exec(), folder: script.folder.clone() })
    }

    /// Forks the script's first process: a session and group of its own, no input, `output` for both
    /// outputs, no other descriptor, default signals, umask 022, in `leaf` from its first instruction on.
    ///
    /// Nothing here waits for the child: its working directory may be on a share that hangs.
    ///
    /// # Errors
    /// Those of `pipe2(2)` and `fork(2)`.
    pub fn start(&self, output: BorrowedFd<'_>, leaf: Option<&Leaf>, oom_score: &OomScore) -> io::Result<Starting> {
        let (failure, report) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let body = || {
            let (stage, error) = self.become_script(output, oom_score);
            let number = error.raw_os_error().unwrap_or_default();
            let _ = File::from(report).write_all(&[&[stage][..], &number.to_ne_bytes()].concat());
            126
        };
        let pid = match leaf {
            Some(leaf) => leaf.spawn(body)?,
            None => fork::spawn(body)?,
        };
        Ok(Starting { pid, failure: failure.into() })
    }

    /// Only returns where something failed: the stage and why.
    fn become_script(&self, output: BorrowedFd<'_>, oom_score: &OomScore) -> (u8, io::Error) {
        let prepare = || -> io::Result<()> {
            setsid()?;
            oom_score.restore();
            let null = descriptors::null()?;
            descriptors::install_stdio([null.as_fd(), output, output])?;
            umask(Mode::from_bits_truncate(0o022));
            descriptors::close_others_on_exec();
            signals::reset();
            Ok(())
        };
        if let Err(error) = prepare() {
            return (0, error);
        }
        if let Err(errno) = nix::unistd::chdir(&self.folder) {
            return (1, errno.into());
        }
        match execve(&self.program, &self.words, &self.environment) {
            Ok(never) => match never {},
            Err(errno) => (2, errno.into()),
        }
    }
}

impl Starting {
    /// Readable when it is known what came of the start.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.failure.as_fd()
    }

    /// Looks what came of the start.
    pub fn look(&mut self) -> Started {
        let mut report = [0; 5];
        match self.failure.read(&mut report) {
            // Closed by exec.
            Ok(0) => Started::Running,
            Ok(5) => {
                let number = i32::from_ne_bytes([report[1], report[2], report[3], report[4]]);
                let what = STAGES[usize::from(report[0]).min(STAGES.len() - 1)];
                Started::Failed { what, error: io::Error::from_raw_os_error(number) }
            }
            Ok(_) => Started::Failed { what: STAGES[3], error: Errno::EIO.into() },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Started::NotYet,
            Err(error) => Started::Failed { what: STAGES[3], error },
        }
    }
}

/// How ready the kernel is to kill a process when memory runs out.
#[derive(Clone, Debug, Default)]
pub struct OomScore(Option<String>);

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

impl OomScore {
    /// Protects this process and those it forks; remembers what the caller had. Only root may do that.
    pub fn protect() -> Self {
        let before = std::fs::read_to_string(OOM_SCORE).ok();
        let _ = std::fs::write(OOM_SCORE, "-900");
        Self(before)
    }

    /// Gives this process what the caller had.
    fn restore(&self) {
        if let Some(before) = &self.0 {
            let _ = std::fs::write(OOM_SCORE, before.trim());
        }
    }
}
