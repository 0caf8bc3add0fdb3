//! The lines of an output on their way out: as they are, with their times, for a terminal, or as JSON.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use serde::Serialize;

use super::harmless::{Harmless, Sgr};
use crate::{
    cli::{LogsArgs, Terminal},
    record::{state::timestamp, steps::RecordedStep},
};

/// What becomes of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Byte for byte.
    Bytes(Stamps),
    /// Nothing in them moves a terminal.
    Harmless(Stamps, Sgr),
    /// One JSON object for each.
    Json,
}

/// Whether each line begins with its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stamps {
    /// It does.
    Yes,
    /// It does not.
    No,
}

impl Form {
    /// What suits the options and standard output.
    pub fn of(args: &LogsArgs) -> Self {
        let stamps = if args.timestamps { Stamps::Yes } else { Stamps::No };
        if args.json {
            return Self::Json;
        }
        if !nix::unistd::isatty(io::stdout()).unwrap_or(false) {
            return Self::Bytes(stamps);
        }
        match args.terminal {
            Terminal::Coloured => Self::Harmless(stamps, Sgr::Kept),
            Terminal::Plain | Terminal::Dumb => Self::Harmless(stamps, Sgr::Dropped),
        }
    }
}

/// A line in JSON. Bytes that are not UTF-8 are U+FFFD in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    /// When it came, RFC 3339; `null` where that is not known.
    at: Option<String>,
    text: &'a str,
    /// Whether the next object goes on with the same line, which was too long for one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_continued: bool,
    /// The command that failed when this was printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a RecordedStep>,
}

/// The longest piece of a line that is one object, bytes.
const LONGEST: usize = 64 * 1024;

/// The lines as they are printed.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    form: Form,
    harmless: Harmless,
    is_within: bool,
    last: Option<u8>,
    /// For JSON: the line so far, and when it began.
    line: Vec<u8>,
    began: Option<SystemTime>,
    step: Option<RecordedStep>,
    scratch: Vec<u8>,
}

impl<W: Write> Lines<W> {
    /// Prints to `out`.
    pub fn new(out: W, form: Form) -> Self {
        let sgr = match form {
            Form::Harmless(_, sgr) => sgr,
            Form::Bytes(_) | Form::Json => Sgr::Dropped,
        };
        let harmless = Harmless::new(sgr);
        Self {
            out,
            form,
            harmless,
            is_within: false,
            last: None,
            line: Vec::new(),
            began: None,
            step: None,
            scratch: Vec::new(),
        }
    }

    /// Prints bytes of the output. `time` tells when the byte at an offset within them came.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn print(&mut self, bytes: &[u8], time: impl Fn(u64) -> Option<SystemTime>) -> io::Result<()> {
        self.last = bytes.last().copied().or(self.last);
        match self.form {
            Form::Bytes(Stamps::No) => return self.out.write_all(bytes),
            Form::Harmless(Stamps::No, _) => self.harmless.take(bytes, &mut self.scratch),
            Form::Bytes(Stamps::Yes) | Form::Harmless(Stamps::Yes, _) | Form::Json => {
                let mut offset = 0;
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.piece(piece, || time(offset));
                    offset += piece.len() as u64;
                }
            }
        }
        self.out.write_all(&self.scratch)?;
        self.scratch.clear();
        Ok(())
    }

    /// A line or a piece of one.
    fn piece(&mut self, piece: &[u8], time: impl Fn() -> Option<SystemTime>) {
        if !self.is_within {
            self.began = time();
        }
        match self.form {
            Form::Json => {
                self.line.extend_from_slice(piece);
                while self.line.len() > LONGEST {
                    let rest = self.line.split_off(LONGEST);
                    self.object(true);
                    self.line = rest;
                }
                if self.line.last() == Some(&b'\n') {
                    self.line.pop();
                    self.object(false);
                }
            }
            Form::Bytes(_) | Form::Harmless(..) => {
                if !self.is_within {
                    let stamp = self.began.map_or_else(String::new, |began| timestamp(began) + " ");
                    self.scratch.extend_from_slice(stamp.as_bytes());
                }
                match self.form {
                    Form::Harmless(..) => self.harmless.take(piece, &mut self.scratch),
                    Form::Bytes(_) | Form::Json => self.scratch.extend_from_slice(piece),
                }
            }
        }
        self.is_within = piece.last() != Some(&b'\n');
    }

    fn object(&mut self, is_continued: bool) {
        let text = String::from_utf8_lossy(&self.line);
        let line = Line { at: self.began.map(timestamp), text: &text, is_continued, step: self.step.as_ref() };
        self.scratch.extend(serde_json::to_vec(&line).unwrap_or_default());
        self.scratch.push(b'\n');
        self.line.clear();
    }

    /// What follows was printed while that command ran.
    pub fn of_step(&mut self, step: RecordedStep) {
        self.step = Some(step);
    }

    /// What the command printed is over: the next thing begins on a line of its own, on a terminal and in JSON.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn end_step(&mut self) -> io::Result<()> {
        let is_within = self.last.take().is_some_and(|last| last != b'\n');
        self.end()?;
        self.is_within = false;
        match self.form {
            Form::Harmless(..) if is_within => self.out.write_all(b"\n"),
            Form::Harmless(..) | Form::Bytes(_) | Form::Json => Ok(()),
        }
    }

    /// Brings out what is held back at the end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn end(&mut self) -> io::Result<()> {
        match self.form {
            Form::Json if !self.line.is_empty() => self.object(false),
            Form::Harmless(..) => self.harmless.end(&mut self.scratch),
            Form::Json | Form::Bytes(_) => {}
        }
        self.out.write_all(&self.scratch)?;
        self.scratch.clear();
        self.flush()
    }

    /// Brings out what was printed.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn printed(form: Form, pieces: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, form);
        let mut at = 0;
        for piece in pieces {
            lines.print(piece, |offset| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(at + offset))).unwrap();
            at += piece.len() as u64;
        }
        lines.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_has_the_time_of_its_first_byte_however_it_comes() {
        let expected = "1970-01-01T00:00:00.000Z one\n1970-01-01T00:00:04.000Z \n1970-01-01T00:00:05.000Z two";
        for pieces in [&[&b"one\n\ntwo"[..]][..], &[b"on", b"e\n", b"\nt", b"wo"]] {
            assert_eq!(printed(Form::Bytes(Stamps::Yes), pieces), expected);
        }
    }

    #[test]
    fn as_json_a_line_is_an_object_and_a_long_one_is_several() {
        let long = vec![b'x'; LONGEST + 5];
        let text = printed(Form::Json, &[b"a \"b\"\n\xff", b"\n", &long]);
        let objects: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects[0], serde_json::json!({"at": "1970-01-01T00:00:00.000Z", "text": "a \"b\""}));
        assert_eq!(objects[1]["text"], "\u{fffd}");
        assert_eq!(objects[2]["isContinued"], true);
        assert_eq!(objects[3], serde_json::json!({"at": "1970-01-01T00:00:08.000Z", "text": "xxxxx"}));
    }
}
