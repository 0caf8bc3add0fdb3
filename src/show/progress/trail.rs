//! What the output has done to the terminal, as far as it matters to who draws a line below it.

/// How far the output is: whether it stands at the beginning of a line, and whether anything below that is its own.
#[derive(Debug)]
pub(super) struct Trail {
    escape: Escape,
    /// Bytes of a character that are still to come.
    unfinished: u8,
    /// Whether the last character was a line end. Colours do not change that.
    is_at_start: bool,
    /// The most columns that the line can have taken since its beginning.
    columns: usize,
    /// Line ends since the cursor was last moved about; `None` where it never was.
    lines_since_moved: Option<usize>,
}

/// Where an escape sequence (ECMA-48) has got to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Escape {
    None,
    Begun,
    /// One more byte, as in `ESC ( B`.
    Charset,
    /// Behind `ESC [`; whether the parameters so far are `?25`, the cursor's visibility, and how many there are.
    Control {
        length: usize,
        is_visibility: bool,
    },
    /// A title, a link: up to BEL or `ESC \`.
    Text,
    TextEnds,
}

/// Where the output has left the cursor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// At the beginning of a line that is still empty.
    Start,
    /// Within a line: a question, a progress bar.
    Within,
    /// Nobody can tell, or the lines below may be the output's own: let it be.
    Unknown,
}

impl Trail {
    pub(super) fn new() -> Self {
        Self { escape: Escape::None, unfinished: 0, is_at_start: true, columns: 0, lines_since_moved: None }
    }

    /// Where the cursor is on a terminal of that size.
    pub(super) fn place(&self, columns: usize, rows: usize) -> Place {
        // After as many line ends as there are rows it is on the last one, wherever it was before.
        let is_below_all = self.lines_since_moved.is_none_or(|lines| lines >= rows);
        if self.escape != Escape::None || self.unfinished > 0 || !is_below_all {
            return Place::Unknown;
        }
        match self.is_at_start {
            true => Place::Start,
            // In a line that is full to its end, the cursor waits in its last column to be wrapped, and
            // terminals do not agree on what becomes of that when they are asked to come back.
            false if self.columns < columns => Place::Within,
            false => Place::Unknown,
        }
    }

    /// Whether the last thing printed was not the end of a line.
    pub(super) fn is_within_a_line(&self) -> bool {
        !self.is_at_start
    }

    /// Takes note of more output.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.escape = self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) -> Escape {
        match (self.escape, byte) {
            (Escape::Text | Escape::TextEnds, 0x07) | (Escape::TextEnds, b'\\') => Escape::None,
            (Escape::Text | Escape::TextEnds, 0x1b) => Escape::TextEnds,
            (Escape::Text | Escape::TextEnds, _) => Escape::Text,
            (_, 0x1b) => Escape::Begun,
            // CAN and SUB call a sequence off.
            (_, 0x18 | 0x1a) => Escape::None,
            // Within a sequence, other control characters are obeyed as usual.
            (within, ..0x20) => {
                self.control(byte);
                within
            }
            (Escape::Begun, b'[') => Escape::Control { length: 0, is_visibility: true },
            (Escape::Begun, b']' | b'P' | b'X' | b'^' | b'_') => Escape::Text,
            (Escape::Begun, 0x20..=0x2f) => Escape::Charset,
            (Escape::Begun, _) => self.moved(),
            (Escape::Charset, _) => Escape::None,
            (Escape::Control { length, is_visibility }, 0x20..=0x3f) => Escape::Control {
                length: length + 1,
                is_visibility: is_visibility && b"?25".get(length) == Some(&byte),
            },
            (Escape::Control { .. }, b'm' | b'K') => Escape::None,
            (Escape::Control { length: 3, is_visibility: true }, b'h' | b'l') => Escape::None,
            // Forwards, backwards, to a column: within the line, but who knows where.
            (Escape::Control { .. }, b'C' | b'D' | b'G' | b'P' | b'X' | b'@') => {
                (self.is_at_start, self.columns) = (false, usize::MAX);
                Escape::None
            }
            (Escape::Control { .. }, _) => self.moved(),
            (Escape::None, _) => {
                self.printed(byte);
                Escape::None
            }
        }
    }

    fn control(&mut self, byte: u8) {
        self.unfinished = 0;
        match byte {
            b'\n' => {
                (self.is_at_start, self.columns) = (true, 0);
                self.lines_since_moved = self.lines_since_moved.map(|lines| lines.saturating_add(1));
            }
            // The line's text is still there.
            b'\r' => self.columns = 0,
            b'\t' => (self.is_at_start, self.columns) = (false, self.columns.saturating_add(8)),
            0x0b | 0x0c => drop(self.moved()),
            _ => {}
        }
    }

    fn printed(&mut self, byte: u8) {
        self.unfinished = match byte {
            0x80..=0xbf => self.unfinished.saturating_sub(1),
            0xc2..=0xdf => 1,
            0xe0..=0xef => 2,
            0xf0..=0xf4 => 3,
            _ => 0,
        };
        self.is_at_start = false;
        // No character takes more columns than bytes.
        self.columns = self.columns.saturating_add(1);
    }

    fn moved(&mut self) -> Escape {
        (self.is_at_start, self.lines_since_moved) = (false, Some(0));
        Escape::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(output: &str) -> Place {
        let mut trail = Trail::new();
        trail.take(output.as_bytes());
        trail.place(20, 5)
    }

    #[test]
    fn a_line_end_is_the_beginning_of_a_line_and_colours_change_nothing() {
        for output in ["", "text\n", "\x1b[31mred\n\x1b[0m", "text\r\n", "\x1b]0;title\x07text\n", "text\n\x1b[?25l"] {
            assert_eq!(place(output), Place::Start, "{output:?}");
        }
        for output in ["text", "10 %\r", "\x1b[1mwhat? ", "\t", "5\x08"] {
            assert_eq!(place(output), Place::Within, "{output:?}");
        }
    }

    #[test]
    fn where_nobody_can_tell_nothing_is_drawn() {
        for output in ["\x1b", "\x1b[3", "\x1b]0;tit", "12345678901234567890", "\x1b[5Cx", "\x1b[?1049h", "\x1b[Hx\n"] {
            assert_eq!(place(output), Place::Unknown, "{output:?}");
        }
        let mut trail = Trail::new();
        trail.take(&"é".as_bytes()[..1]);
        assert_eq!(trail.place(20, 5), Place::Unknown);
        trail.take(&"é".as_bytes()[1..]);
        assert_eq!(trail.place(20, 5), Place::Within);
    }

    #[test]
    fn after_a_screenful_of_lines_the_cursor_is_below_all_again() {
        assert_eq!(place("\x1b[2Ax\n\n\n\n"), Place::Unknown);
        assert_eq!(place("\x1b[2Ax\n\n\n\n\n"), Place::Start);
        assert_eq!(place("\x1b7\x1b[2J\n\n\n\n\nx"), Place::Within);
    }
}
