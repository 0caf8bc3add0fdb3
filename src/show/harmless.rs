//! Output for a terminal: text, line ends and tabs as they are, colours if they are wanted, and whatever else a
//! terminal would obey made visible. A log is data: it must not move the cursor, hide what stands before it or
//! type into the shell.

use crate::error::turns_text_around;

/// The longest colour sequence that is taken for one, bytes.
const LONGEST: usize = 64;

/// What becomes of colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sgr {
    /// They reach the terminal.
    Kept,
    /// They are left out.
    Dropped,
}

/// A stream on its way to a terminal.
#[derive(Debug)]
pub struct Harmless {
    sgr: Sgr,
    /// The beginning of what is not complete yet.
    rest: Vec<u8>,
    is_coloured: bool,
}

/// What the bytes begin with.
enum Piece {
    /// So many bytes that a terminal may have.
    Plain(usize),
    /// So many bytes of colour.
    Colour(usize),
    /// So many bytes to be left out.
    Nothing(usize),
    /// So many bytes, and what is shown for them.
    Shown(usize, String),
    /// More bytes are needed to tell.
    Incomplete,
}

impl Harmless {
    /// At the beginning of a stream.
    pub fn new(sgr: Sgr) -> Self {
        Self { sgr, rest: Vec::new(), is_coloured: false }
    }

    /// Appends to `out` what the terminal is to get for `bytes`.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let mut at = 0;
        while at < all.len() {
            let rest = &all[at..];
            at += match piece(rest) {
                Piece::Plain(length) => {
                    out.extend_from_slice(&rest[..length]);
                    length
                }
                Piece::Colour(length) if self.sgr == Sgr::Kept => {
                    self.is_coloured = !matches!(&rest[..length], b"\x1b[m" | b"\x1b[0m");
                    out.extend_from_slice(&rest[..length]);
                    length
                }
                Piece::Colour(length) | Piece::Nothing(length) => length,
                Piece::Shown(length, text) => {
                    out.extend_from_slice(text.as_bytes());
                    length
                }
                Piece::Incomplete => {
                    self.rest = rest.to_vec();
                    return;
                }
            };
        }
    }

    /// Appends what is left at the end of the stream, and takes its last colours back.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        for byte in self.rest.drain(..) {
            out.extend_from_slice(shown(byte).as_bytes());
        }
        if std::mem::take(&mut self.is_coloured) {
            out.extend_from_slice(b"\x1b[0m");
        }
    }
}

fn piece(bytes: &[u8]) -> Piece {
    match bytes {
        [b'\n' | b'\t', ..] => Piece::Plain(1),
        [b'\r', b'\n', ..] => Piece::Nothing(1),
        [b'\r' | 0x1b] => Piece::Incomplete,
        [0x1b, b'[', parameters @ ..] => {
            let length = parameters.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')).count();
            match parameters.get(length) {
                Some(b'm') if length <= LONGEST => Piece::Colour(length + 3),
                None if length <= LONGEST => Piece::Incomplete,
                _ => Piece::Shown(1, shown(0x1b)),
            }
        }
        [0x20..=0x7e, ..] => Piece::Plain(bytes.iter().take_while(|byte| matches!(byte, 0x20..=0x7e)).count()),
        [byte @ (..0x20 | 0x7f), ..] => Piece::Shown(1, shown(*byte)),
        _ => character(bytes),
    }
}

fn character(bytes: &[u8]) -> Piece {
    let four = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(four) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => std::str::from_utf8(&four[..error.valid_up_to()]).unwrap_or_default(),
        Err(error) if error.error_len().is_none() => return Piece::Incomplete,
        Err(_) => "",
    };
    match valid.chars().next() {
        Some(c) if c.is_control() || turns_text_around(c) => Piece::Shown(c.len_utf8(), c.escape_unicode().to_string()),
        Some(c) => Piece::Plain(c.len_utf8()),
        None => Piece::Shown(1, shown(bytes[0])),
    }
}

fn shown(byte: u8) -> String {
    match byte {
        b'\r' => "\\r".into(),
        byte => format!("\\x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(bytes: &[u8], piece: usize, sgr: Sgr) -> String {
        let (mut harmless, mut out) = (Harmless::new(sgr), Vec::new());
        bytes.chunks(piece).for_each(|chunk| harmless.take(chunk, &mut out));
        harmless.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_and_colours_pass_and_the_rest_is_shown_however_it_is_cut() {
        for (bytes, expected) in [
            (&b"plain\ttext\r\n"[..], "plain\ttext\n"),
            ("grün 自動 🎉\n".as_bytes(), "grün 自動 🎉\n"),
            (b"\x1b[1;31mred\x1b[0m\n", "\x1b[1;31mred\x1b[0m\n"),
            (b"\x1b[38:5:1mred\n", "\x1b[38:5:1mred\n\x1b[0m"),
            (b"10%\r20%\r", "10%\\r20%\\r"),
            (b"\x1b[2J\x1b]0;title\x07\x1b", "\\x1b[2J\\x1b]0;title\\x07\\x1b"),
            (b"a\x08\x7f\0\x9bz\xc2", "a\\x08\\x7f\\x00\\x9bz\\xc2"),
            ("\u{9b}31m \u{202e}abc".as_bytes(), "\\u{9b}31m \\u{202e}abc"),
            (b"\x1b[31", "\\x1b\\x5b\\x33\\x31"),
        ] {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(through(bytes, piece, Sgr::Kept), expected, "{bytes:?} by {piece}");
            }
        }
    }

    #[test]
    fn colours_can_be_left_out() {
        assert_eq!(through(b"\x1b[31mred\x1b[0m", 1, Sgr::Dropped), "red");
    }

    #[test]
    fn nothing_is_held_back_for_ever() {
        let mut long = b"\x1b[".to_vec();
        long.extend(vec![b'1'; 1000]);
        let (mut harmless, mut out) = (Harmless::new(Sgr::Kept), Vec::new());
        harmless.take(&long, &mut out);
        assert!(out.starts_with(b"\\x1b[111"));
    }
}
