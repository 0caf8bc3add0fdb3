//! What the hook wrote, line by line. It is the script's word and no more: each line is either exactly as the
//! hook writes it, or nothing.

use super::event::{Builtin, Input};

/// Longest line that the hook writes: ten numbers and a word.
pub const LONGEST: usize = 200;

/// One line of the hook's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A bash has read the hook.
    Began(Input),
    /// A bash is about to execute a simple command.
    Before(Before),
}

/// A bash as it is about to execute a simple command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// How many top-level commands it has read, this one included; 0 in a `-c` string.
    pub number: u32,
    /// The command's line.
    pub line: u32,
    /// `$?`.
    pub status: i32,
    /// The last of `PIPESTATUS`: what a definition of a function, which sets `$?`, leaves alone.
    pub pipe_status: Option<i32>,
    /// How many files and functions bash is in.
    pub sources: u32,
    /// Within how many subshells.
    pub subshell: u32,
    /// What it is.
    pub what: What,
}

/// The kinds of command that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `exit`, `test`, or any other.
    Command(Builtin),
    /// One that would have shown the hook, which is gone now.
    Last,
}

/// A line with its time, in nanoseconds of the wall clock, and its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// `None` where the script has made away with bash's clock.
    pub time: Option<u64>,
    /// `$$`.
    pub pid: u32,
    /// What it says.
    pub entry: Entry,
}

impl Line {
    /// Reads a line without its newline.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok().filter(|line| line.len() <= LONGEST)?;
        let mut words = line.split(' ');
        let kind = words.next()?;
        let pid = words.next()?.parse().ok()?;
        let time = nanoseconds(words.next()?);
        let mut number = || words.next()?.parse::<u32>().ok();
        let entry = match kind {
            "H" => Entry::Began(match words.next()? {
                "script" => Input::File,
                "input" => Input::Stdin,
                "string" => Input::CommandString,
                _ => return None,
            }),
            "C" => {
                let (count, line, status) = (number()?, number()?, number()?);
                let pipe_status = words.next()?.parse::<u8>().ok().map(i32::from);
                let mut number = || words.next()?.parse::<u32>().ok();
                Entry::Before(Before {
                    number: count,
                    line,
                    status: i32::from(u8::try_from(status).ok()?),
                    pipe_status,
                    sources: number()?,
                    subshell: number()?,
                    what: match words.next()? {
                        "o" => What::Command(Builtin::Other),
                        "e" => What::Command(Builtin::Exit),
                        "t" => What::Command(Builtin::Test),
                        "q" => What::Last,
                        _ => return None,
                    },
                })
            }
            _ => return None,
        };
        words.next().is_none().then_some(Self { time, pid, entry })
    }
}

/// Of `$EPOCHREALTIME`, whose decimal point is the locale's.
fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, micros) = text.split_once(['.', ','])?;
    let micros = micros.parse::<u64>().ok().filter(|_| micros.len() == 6)?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(micros * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_the_hook_writes_it() {
        let line = Line::parse(b"C 4711 1795619523.992738 3 5 127 1 1 0 t").unwrap();
        assert_eq!((line.pid, line.time), (4711, Some(1_795_619_523_992_738_000)));
        let Entry::Before(before) = line.entry else { panic!("{line:?}") };
        assert_eq!((before.number, before.line, before.status, before.pipe_status), (3, 5, 127, Some(1)));
        assert_eq!((before.sources, before.subshell, before.what), (1, 0, What::Command(Builtin::Test)));
        let line = Line::parse(b"H 1 1795619523,992738 input").unwrap();
        assert_eq!((line.time.is_some(), line.entry), (true, Entry::Began(Input::Stdin)));
        assert_eq!(Line::parse(b"H 1  input").unwrap().time, None);
    }

    #[test]
    fn a_line_that_is_not_the_hooks_is_nothing() {
        for line in [
            "",
            "H 1",
            "H 1 1.000000 shell",
            "C 1 1.000000 1 2 3",
            "C 1 1.000000 1 2 256 0 1 0 o",
            "C 1 1.000000 -1 2 0 0 1 0 o",
            "C 99999999999 1.000000 1 2 0 0 1 0 o",
            "C 1 1.000000 1 2 0 0 1 0 o more",
            "X 1 1.000000 1 2 0 0 1 0 o",
        ] {
            assert_eq!(Line::parse(line.as_bytes()), None, "{line}");
        }
        assert_eq!(Line::parse(&[b'C'; 300]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), numbers in "[HC]( [0-9.]{0,25}){0,12}") {
            Line::parse(&bytes);
            Line::parse(numbers.as_bytes());
        }
    }
}
