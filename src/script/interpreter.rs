//! The program that runs a script: the first line's `#!`, else bash (CONTRACT 3.1).

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use crate::error::{Code, Error, Result};

/// The program, and the one option that Linux passes on from a `#!` line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interpreter {
    /// Absolute path.
    pub program: PathBuf,
    /// The rest of the line, as one argument.
    pub option: Option<OsString>,
}

const BASH: &str = "/bin/bash";

impl Interpreter {
    /// The interpreter of a script's text, read as `execve(2)` reads a first line.
    ///
    /// # Errors
    /// `cannot-start` where the program is not there or cannot be executed.
    pub fn of(text: &[u8]) -> Result<Self> {
        let interpreter = Self::parse(text).unwrap_or_else(|| Self { program: BASH.into(), option: None });
        interpreter.check()?;
        Ok(interpreter)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let line = text.split(|byte| *byte == b'\n').next()?;
        let line = line.strip_prefix(b"#!")?.trim_ascii();
        let end = line.iter().position(|byte| *byte == b' ' || *byte == b'\t').unwrap_or(line.len());
        let (program, option) = line.split_at(end);
        let option = option.trim_ascii();
        (!program.is_empty()).then(|| Self {
            program: OsString::from_vec(program.to_vec()).into(),
            option: (!option.is_empty()).then(|| OsString::from_vec(option.to_vec())),
        })
    }

    fn check(&self) -> Result<()> {
        let shown = self.program.display();
        let refuse = |message: String, hint: &str| Err(Error::new(Code::CannotStart, message, hint));
        if !self.program.is_absolute() {
            return refuse(
                format!("interpreter `{shown}` of the script's first line is not an absolute path"),
                "write the full path, such as `#!/bin/bash`",
            );
        }
        match access(&self.program, AccessFlags::X_OK) {
            Ok(()) if self.program.is_dir() => refuse(
                format!("interpreter `{shown}` of the script's first line is a folder"),
                "name a program, such as `#!/bin/bash`",
            ),
            Ok(()) => Ok(()),
            Err(errno) => Err(Error::new(
                Code::CannotStart,
                format!("cannot execute interpreter `{shown}` of the script's first line"),
                "install it on the machine, or change the first line to one that is there, such as `#!/bin/bash`",
            )
            .because(std::io::Error::from(errno))),
        }
    }

    /// Whether it is bash by its name.
    pub fn is_bash(&self) -> bool {
        matches!(self.name().as_deref(), Some("bash" | "rbash"))
    }

    /// Whether it is a plain POSIX shell by its name, bash in that role included.
    pub fn is_sh(&self) -> bool {
        matches!(self.name().as_deref(), Some("sh" | "dash"))
    }

    /// The program's name; behind `env` and `env -S` that of the program which these look for.
    fn name(&self) -> Option<String> {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        if !self.program.ends_with("env") {
            return name(&self.program);
        }
        let option = self.option.as_deref()?.to_str()?;
        let words = option.strip_prefix("-S").or_else(|| option.strip_prefix("--split-string="));
        let mut words = words.unwrap_or(option).split_whitespace().skip_while(|word| word.contains('='));
        words.next().and_then(|word| name(Path::new(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, Option<String>)> {
        let found = Interpreter::parse(text.as_bytes())?;
        let text = |os: OsString| os.into_string().unwrap();
        Some((text(found.program.into()), found.option.map(text)))
    }

    #[test]
    fn the_first_line_is_read_as_the_kernel_reads_it() {
        let cases = [
            ("#!/bin/bash\n", Some(("/bin/bash", None))),
            ("#! /bin/bash -e\necho", Some(("/bin/bash", Some("-e")))),
            ("#!/usr/bin/env bash", Some(("/usr/bin/env", Some("bash")))),
            ("#!/usr/bin/env -S bash -eu\n", Some(("/usr/bin/env", Some("-S bash -eu")))),
            ("#!\t/bin/sh\t-x  \n", Some(("/bin/sh", Some("-x")))),
            ("#!\n", None),
            ("# comment\n#!/bin/sh\n", None),
            (" #!/bin/sh\n", None),
            ("echo\n", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(program, option)| (program.to_owned(), option.map(str::to_owned)));
            assert_eq!(parsed(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_shell_is_known_behind_env_too() {
        let cases = [
            ("#!/bin/bash -e", (true, false)),
            ("#!/usr/bin/env bash", (true, false)),
            ("#!/usr/bin/env -S bash -eu", (true, false)),
            ("#!/usr/bin/env -S A=1 B=2 /bin/bash", (true, false)),
            ("#!/usr/bin/env --split-string=bash -e", (true, false)),
            ("#!/bin/sh", (false, true)),
            ("#!/usr/bin/env -Sdash -e", (false, true)),
            ("#!/usr/bin/env -i bash", (false, false)),
            ("#!/usr/bin/env", (false, false)),
            ("#!/usr/bin/python3", (false, false)),
        ];
        for (text, expected) in cases {
            let found = Interpreter::parse(text.as_bytes()).unwrap();
            assert_eq!((found.is_bash(), found.is_sh()), expected, "{text}");
        }
    }

    #[test]
    fn without_a_first_line_it_is_bash() {
        assert_eq!(Interpreter::of(b"echo hi").unwrap().program, Path::new("/bin/bash"));
    }

    #[test]
    fn an_interpreter_that_is_not_there_cannot_start() {
        for text in ["#!/no/such/program\n", "#!bash\n", "#!/etc\n", "#!/etc/passwd\n"] {
            assert_eq!(Interpreter::of(text.as_bytes()).unwrap_err().code, Code::CannotStart, "{text}");
        }
    }
}
