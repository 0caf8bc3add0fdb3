//! A line below the output, on the terminal that both share.
//!
//! The cursor always rests where the output has left it, so that more output, a Ctrl-C that the terminal
//! echoes, a change of its size or the death of this process meet a terminal as the script wants it.

use super::trail::{Place, Trail};

/// Save the cursor and its colours (DECSC), and no colours.
const SAVE: &str = "\x1b7\x1b[0m";
/// Bring both back (DECRC).
const RESTORE: &str = "\x1b8";
/// To the beginning of a row that is there in any case: a line end without a carriage return, and up again.
const ROW_BELOW: &str = "\x0b\x1b[A";

/// How many columns and rows a terminal has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// The line, and what is known of the output above it.
#[derive(Debug)]
pub(super) struct Below {
    trail: Trail,
    drawn: Option<Place>,
}

impl Below {
    pub(super) fn new() -> Self {
        Self { trail: Trail::new(), drawn: None }
    }

    /// Takes note of output that was printed after [`Below::erase`].
    pub(super) fn take(&mut self, output: &[u8]) {
        self.trail.take(output);
    }

    /// What draws `line`, which must be shorter than the terminal is wide; nothing where that could harm.
    pub(super) fn draw(&mut self, line: &str, size: Size) -> String {
        match self.trail.place(size.columns, size.rows) {
            Place::Unknown => self.erase(),
            place => {
                self.drawn = Some(place);
                painted(place, line)
            }
        }
    }

    /// What takes the line away.
    pub(super) fn erase(&mut self) -> String {
        self.drawn.take().map_or_else(String::new, |place| painted(place, ""))
    }

    /// The line has become somebody else's: a shell's, in front of which this process is no more.
    pub(super) fn forget(&mut self) {
        self.drawn = None;
    }

    /// What takes the line away for good: what is printed next begins on a line of its own.
    pub(super) fn end(&mut self) -> String {
        let line_end = if self.trail.is_within_a_line() { "\n" } else { "" };
        self.erase() + line_end
    }
}

/// Erasing goes to the end of the screen: a terminal that became narrower may have cut the line in two.
fn painted(place: Place, line: &str) -> String {
    match place {
        Place::Start => format!("\r{SAVE}\x1b[J{line}{RESTORE}"),
        Place::Within => format!("{ROW_BELOW}{SAVE}\x1b[B\r\x1b[J{line}{RESTORE}"),
        Place::Unknown => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

    const SIZE: Size = Size { columns: 40, rows: 6 };

    /// What a terminal shows of `pieces`, with the line drawn and erased around each of them.
    fn screens(pieces: &[&str]) -> (vt100::Parser, vt100::Parser) {
        let size = |length: usize| NonZero::new(length as u16).unwrap();
        let terminal = || vt100::Parser::new(size(SIZE.rows), size(SIZE.columns), 1000);
        // As the kernel's terminal driver does it.
        let cooked = |text: &str| text.replace('\n', "\r\n").into_bytes();
        let (mut alone, mut shared, mut below) = (terminal(), terminal(), Below::new());
        for piece in pieces {
            shared.process(&cooked(&below.erase()));
            shared.process(&cooked(piece));
            below.take(piece.as_bytes());
            for _ in 0..3 {
                shared.process(&cooked(&below.draw("#### the line", SIZE)));
            }
            alone.process(&cooked(piece));
        }
        (alone, shared)
    }

    #[test]
    fn the_output_stands_as_if_there_were_no_line() {
        for pieces in [
            &["one\n", "two\n", "three"][..],
            &["1\n2\n3\n4\n5\n6\n7\n", "8\n"],
            &["1\n2\n3\n4\n5\n6\n7", " goes on", "\nand ends\n"],
            &["\x1b[31mred\n", "still red", "\n\x1b[0mplain\n"],
            &["\x1b[44m10 %\r", "20 %\r", "\x1b[K30 %\r", "done\n"],
            &["a full line of exactly forty characters.", "and on\n"],
            &["a\tb\tc", "\td\n", "ü", "bel\n"],
        ] {
            let (alone, mut shared) = screens(pieces);
            let mut line = Below { trail: Trail::new(), drawn: None };
            pieces.iter().for_each(|piece| line.take(piece.as_bytes()));
            line.draw("x", SIZE);
            shared.process(line.erase().as_bytes());
            let (alone, shared) = (alone.screen(), shared.screen());
            let rows = |screen: &vt100::Screen| -> Vec<String> {
                screen.rows(0, SIZE.columns as u16).filter(|row| !row.is_empty()).collect()
            };
            // Room below costs a row of the history, never one of the output's.
            assert!(rows(alone).ends_with(&rows(shared)), "{pieces:?}: {:?} {:?}", rows(alone), rows(shared));
            assert!(rows(alone).len() <= rows(shared).len() + 1, "{pieces:?}");
            assert_eq!(alone.cursor_position().1, shared.cursor_position().1, "{pieces:?}");
            assert_eq!((alone.fgcolor(), alone.bgcolor()), (shared.fgcolor(), shared.bgcolor()), "{pieces:?}");
        }
    }

    #[test]
    fn the_line_is_always_the_last_and_there_is_one() {
        for pieces in [&["one\n", "two\n"][..], &["1\n2\n3\n4\n5\n6\n7\n"], &["question? "], &["1\n2\n3\n4\n5\n6\n7? "]]
        {
            let (_, shared) = screens(pieces);
            let contents = shared.screen().contents();
            let rows: Vec<&str> = contents.lines().collect();
            assert_eq!(rows.last(), Some(&"#### the line"), "{rows:?}");
            assert_eq!(rows.iter().filter(|row| row.contains('#')).count(), 1, "{rows:?}");
        }
    }
}
