//! Raw records turned into what happened, by the formats that the kernel gives for each event.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::keeper::{self, FORK_EVENT, Target, group};
use super::probes::Probe;
use super::ring::{Record, u32_at, u64_at};
use super::tracefs::Tracefs;

/// One thing that happened on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of the buffer's clock.
    pub time: u64,
    /// Who, in the initial pid namespace.
    pub pid: u32,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// We wrote into the marker: `pid` is our own, `time` is now.
    Marker,
    /// `pid` forked.
    Forked {
        /// The new process or thread.
        child: u32,
    },
    /// A bash came by a probe.
    Hit(Hit),
    /// A bash wrote a line by the hook; `pid` is its `$$`.
    Hooked {
        /// The line.
        entry: Entry,
        /// Whose file it was in.
        user: u32,
    },
}

/// Where a bash's script comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file named on its command line.
    File,
    /// Standard input: a heredoc, a pipe.
    Stdin,
    /// The argument of `-c`.
    CommandString,
}

/// The builtin that ran last in a shell, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// None: the last simple command was a function or a program.
    None,
    /// `exit`.
    Exit,
    /// `test` or `[`.
    Test,
    /// Any other.
    Other,
}

/// bash's variables when it came by a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Which probe.
    pub probe: Probe,
    /// Where the binary is in memory: elsewhere under the same pid means that another bash was executed.
    pub load_address: u64,
    /// Lines read so far; at a fork the line that is being executed.
    pub line: u32,
    /// `$?`.
    pub status: i32,
    /// Top-level commands executed so far, plus one. Does not count in `-c` strings.
    pub number: u32,
    /// The real user.
    pub uid: u32,
    /// `$$`, in the shell's own pid namespace.
    pub shell: u32,
    /// Within how many functions.
    pub depth: u32,
    /// Within how many sourced files.
    pub sourced: u32,
    /// A trap's body is running.
    pub in_trap: bool,
    /// Where the script comes from.
    pub input: Input,
    /// What ran last.
    pub builtin: Builtin,
    /// The status the shell ends with, at [`Probe::Exit`].
    pub code: i32,
}

/// Offset and size of a field.
type Place = (usize, usize);

/// How to read the events of one instance.
#[derive(Debug, Serialize, Deserialize)]
pub struct Formats {
    marker: u16,
    fork: (u16, Place),
    hits: HashMap<u16, HitFormat>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HitFormat {
    probe: Probe,
    fields: HashMap<String, Place>,
    function: u64,
    exit_builtin: Option<u64>,
    test_builtin: Option<u64>,
}

impl Formats {
    /// Reads the format files of an instance.
    pub fn read(instance: &Tracefs, name: &str, targets: &[Target]) -> Result<Self, String> {
        let format = |event: &str| {
            let text = instance
                .read(&format!("{event}/format"))
                .map_err(|error| format!("cannot read the format of {event}: {error}"))?;
            parse(&text).ok_or_else(|| format!("the format of {event} is not understood"))
        };
        let (fork, fields) = format(FORK_EVENT)?;
        let child = *fields.get("child_pid").ok_or("forks do not name the child")?;
        let mut formats = Self { marker: format("events/ftrace/print")?.0, fork: (fork, child), hits: HashMap::new() };
        for (index, target) in targets.iter().enumerate() {
            for (probe, _) in &target.plan.probes {
                let (id, fields) = format(&format!("events/{}/{}", group(name, index), keeper::event(name, *probe)))?;
                let position = Probe::ALL.iter().position(|other| other == probe).unwrap_or(0);
                let format = HitFormat {
                    probe: *probe,
                    fields,
                    function: target.plan.functions[position],
                    exit_builtin: target.plan.exit_builtin[position],
                    test_builtin: target.plan.test_builtin[position],
                };
                formats.hits.insert(id, format);
            }
        }
        Ok(formats)
    }

    /// Understands one record; `None` for what is not ours.
    pub fn event(&self, record: Record) -> Option<Event> {
        let bytes = record.data;
        let kind = u16::from_ne_bytes(*bytes.first_chunk()?);
        let what = if kind == self.marker {
            What::Marker
        } else if kind == self.fork.0 {
            What::Forked { child: u32_at(bytes, self.fork.1.0)? }
        } else {
            What::Hit(self.hits.get(&kind)?.hit(bytes)?)
        };
        // Every event begins with u16 type, u8 flags, u8 preempt_count, s32 pid.
        Some(Event { time: record.time, pid: u32_at(bytes, 4)?, what })
    }
}

impl HitFormat {
    fn hit(&self, bytes: &[u8]) -> Option<Hit> {
        let number = |name: &str| match *self.fields.get(name)? {
            (at, 8) => u64_at(bytes, at),
            (at, 4) => u32_at(bytes, at).map(u64::from),
            _ => None,
        };
        // Both are 32 bits wide in bash; the sign of the one and the other is kept.
        let small = |name: &str| number(name).and_then(|value| u32::try_from(value).ok());
        let address = number("__probe_ip")?;
        let builtin = match number("builtin")? {
            0 => Builtin::None,
            builtin if self.exit_builtin == Some(builtin.wrapping_sub(address)) => Builtin::Exit,
            builtin if self.test_builtin == Some(builtin.wrapping_sub(address)) => Builtin::Test,
            _ => Builtin::Other,
        };
        let input = match (number("string")?, number("file")?) {
            (0, 0) => Input::Stdin,
            (0, _) => Input::File,
            (_, _) => Input::CommandString,
        };
        Some(Hit {
            probe: self.probe,
            load_address: address.wrapping_sub(self.function),
            line: small("line")?,
            status: small("status")?.cast_signed(),
            number: small("number")?,
            uid: small("uid")?,
            shell: small("shell")?,
            depth: small("depth")?,
            sourced: small("source")?,
            in_trap: small("trap")? != 0,
            input,
            builtin,
            code: small("code").map_or(0, u32::cast_signed),
        })
    }
}

/// An event's number and its fields by name.
fn parse(format: &str) -> Option<(u16, HashMap<String, Place>)> {
    let id = format.lines().find_map(|line| line.strip_prefix("ID: ")?.trim().parse().ok())?;
    let mut fields = HashMap::new();
    for line in format.lines() {
        let Some(rest) = line.trim_start().strip_prefix("field:") else {
            continue;
        };
        let mut parts = rest.split(';');
        let name = parts.next()?.split_whitespace().next_back()?;
        let number = |part: Option<&str>, key: &str| part?.trim().strip_prefix(key)?.parse().ok();
        let place = (number(parts.next(), "offset:")?, number(parts.next(), "size:")?);
        fields.insert(name.split('[').next()?.to_owned(), place);
    }
    Some((id, fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_file_gives_number_and_places() {
        let text = "name: top\nID: 1432\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
                    \tfield:unsigned long __probe_ip;\toffset:8;\tsize:8;\tsigned:0;\n\tfield:s32 line;\toffset:16;\tsize:4;\tsigned:1;\n\
                    \nprint fmt: \"(%lx) line=%d\", REC->__probe_ip, REC->line\n";
        let (id, fields) = parse(text).unwrap();
        assert_eq!((id, fields["line"], fields["__probe_ip"]), (1432, (16, 4), (8, 8)));
        assert!(parse("garbage").is_none());
    }
}
