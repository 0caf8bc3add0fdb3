//! The probes on bash: which functions, and which of bash's own variables are read at each.
//!
//! No text is ever read from bash's memory: what it has there may hold values of variables (an unquoted
//! heredoc, `bash -c "…$TOKEN…"`). Commands' texts come from the script by line.

use serde::{Deserialize, Serialize};

use super::elf::Symbols;

/// A function of bash that is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Probe {
    /// `read_command`: the reader loop is about to read the next top-level command of a file or of
    /// standard input. The one before it has ended.
    Top,
    /// `parse_command`, inside `bash -c` only: the same for the string's top-level commands.
    Unit,
    /// `exit_shell`: the shell ends, but not by a signal and not by `exec`.
    Exit,
    /// `make_child`: about to fork; says which line of a function or of an `if` is being executed.
    Fork,
}

impl Probe {
    /// All of them, the ones without which there are no steps first.
    pub const ALL: [Self; 4] = [Self::Top, Self::Exit, Self::Unit, Self::Fork];

    /// The event's name in tracefs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Top => "top",
            Self::Unit => "unit",
            Self::Exit => "exit",
            Self::Fork => "fork",
        }
    }

    /// bash's name of the function.
    pub fn function(self) -> &'static str {
        match self {
            Self::Top => "read_command",
            Self::Unit => "parse_command",
            Self::Exit => "exit_shell",
            Self::Fork => "make_child",
        }
    }

    /// What the kernel drops before it reaches the buffer. Subshells have steps of their own only in the
    /// eyes of bash.
    pub fn filter(self) -> Option<&'static str> {
        match self {
            Self::Top => None,
            Self::Exit | Self::Fork => Some("sub == 0"),
            Self::Unit => Some("level == 1 && string != 0 && depth == 0 && source == 0 && trap == 0 && sub == 0"),
        }
    }

    fn required(self) -> bool {
        matches!(self, Self::Top | Self::Exit)
    }
}

/// One of bash's global variables that goes along with a hit: its name in the event, in bash, its type.
struct Variable(&'static str, &'static str, &'static str);

const VARIABLES: [Variable; 14] = [
    Variable("line", "line_number", "s32"),
    Variable("status", "last_command_exit_value", "s32"),
    Variable("depth", "variable_context", "s32"),
    Variable("source", "sourcelevel", "s32"),
    Variable("sub", "subshell_environment", "s32"),
    Variable("trap", "running_trap", "s32"),
    Variable("uid", "current_user", "u32"),
    Variable("number", "current_command_number", "s32"),
    Variable("level", "parse_and_execute_level", "s32"),
    Variable("shell", "dollar_dollar_pid", "s32"),
    Variable("errexit", "exit_immediately_on_error", "s32"),
    Variable("file", "shell_script_filename", "x64"),
    Variable("string", "command_execution_string", "x64"),
    Variable("builtin", "this_shell_builtin", "x64"),
];

/// Builtins whose addresses tell what a status means.
const BUILTINS: [&str; 2] = ["exit_builtin", "test_builtin"];

/// The first argument of a function, as a probe names it.
#[cfg(target_arch = "x86_64")]
const FIRST_ARGUMENT: &str = "%di";
#[cfg(target_arch = "aarch64")]
const FIRST_ARGUMENT: &str = "%x0";

/// The probes for one bash binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each probe with its place and arguments: the text after `p:GROUP/EVENT PATH:`.
    pub probes: Vec<(Probe, String)>,
    /// Which wished-for functions the binary does not have.
    pub missing: Vec<&'static str>,
    /// The probed functions' addresses as linked, in the order of [`Probe::ALL`].
    pub functions: [u64; 4],
    /// How far `exit_builtin` is from each probed function, in memory as in the file.
    pub exit_builtin: Distances,
    /// The same for `test_builtin`, which `[` is as well.
    pub test_builtin: Distances,
}

/// The distance of one function from each probe, in the order of [`Probe::ALL`].
pub type Distances = [Option<u64>; 4];

impl Plan {
    /// Finds everything in a bash binary's bytes, or says what is missing.
    pub fn new(binary: &[u8]) -> Result<Self, String> {
        let mut wanted: Vec<&'static str> = VARIABLES.iter().map(|variable| variable.1).collect();
        wanted.extend(Probe::ALL.map(Probe::function));
        wanted.extend(BUILTINS);
        let symbols = Symbols::read(binary, &wanted)?;
        let lacking: Vec<&str> = Probe::ALL
            .into_iter()
            .filter(|probe| probe.required())
            .map(Probe::function)
            .chain(VARIABLES.iter().map(|variable| variable.1))
            .filter(|name| symbols.address(name).is_none())
            .collect();
        if !lacking.is_empty() {
            return Err(format!("it has no symbol {}", lacking.join(", ")));
        }
        let mut plan = Self {
            probes: Vec::new(),
            missing: Vec::new(),
            functions: [0; 4],
            exit_builtin: [None; 4],
            test_builtin: [None; 4],
        };
        for (index, probe) in Probe::ALL.into_iter().enumerate() {
            match place(&symbols, probe) {
                Some(place) => plan.probes.push((probe, place)),
                None if probe.required() => {
                    return Err(format!("{} is not in its code", probe.function()));
                }
                None => plan.missing.push(probe.function()),
            }
            plan.functions[index] = symbols.address(probe.function()).unwrap_or(0);
            let distance = |name| Some(symbols.address(name)?.wrapping_sub(symbols.address(probe.function())?));
            plan.exit_builtin[index] = distance("exit_builtin");
            plan.test_builtin[index] = distance("test_builtin");
        }
        Ok(plan)
    }
}

fn place(symbols: &Symbols, probe: Probe) -> Option<String> {
    let function = probe.function();
    let mut text = format!("0x{:x}", symbols.file_offset(function)?);
    if probe == Probe::Exit {
        text.push_str(&format!(" code={FIRST_ARGUMENT}:s32"));
    }
    for Variable(name, variable, kind) in &VARIABLES {
        let offset = symbols.variable_offset(function, variable)?;
        text.push_str(&format!(" {name}=@+0x{offset:x}:{kind}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machines_bash_can_be_probed() {
        let plan = Plan::new(&std::fs::read("/bin/bash").unwrap()).unwrap();
        assert_eq!(plan.probes.len(), 4);
        assert!(plan.missing.is_empty());
    }

    #[test]
    fn a_binary_that_is_not_bash_is_refused_by_the_names_of_what_it_lacks() {
        let reason = Plan::new(&std::fs::read("/bin/true").unwrap()).unwrap_err();
        assert!(reason.starts_with("it has no symbol read_command, exit_shell, line_number"), "{reason}");
    }
}
