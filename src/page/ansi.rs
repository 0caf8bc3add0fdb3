//! Terminal output as lines of styled text: what somebody at a terminal would have seen.
//!
//! Colours, carriage returns, backspaces and the sequences that erase or move within a line are carried out;
//! everything else that a terminal would obey is left out. What comes of any input is bounded.

use super::markup::Html;

/// How far to the right a line may be written by moving the cursor.
const FARTHEST: usize = 512;

/// The most characters of a line; what is behind them is counted.
const LONGEST: usize = 4096;

/// How a character looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Look {
    /// One of the 16 colours of terminals.
    foreground: Option<u8>,
    background: Option<u8>,
    is_bold: bool,
    is_dim: bool,
    is_italic: bool,
    is_underlined: bool,
    is_struck: bool,
    is_inverse: bool,
}

/// A line as it was in the end.
#[derive(Clone, Debug, Default)]
pub struct Line {
    cells: Vec<(char, Look)>,
    /// Characters that found no room.
    cut: u64,
}

#[derive(Clone, Copy, Debug)]
enum Reading {
    Text,
    Escape,
    /// `ESC (` and the like: one more character belongs to it.
    Charset,
    /// A control sequence, `ESC [`.
    Control,
    /// A string, `ESC ]` and the like, up to BEL or `ESC \`.
    String,
    StringEscape,
}

/// A terminal of one line.
struct Terminal<'a> {
    reading: Reading,
    /// The parameters of the control sequence that is being read.
    parameters: [u16; 16],
    /// How many of them have begun.
    count: usize,
    /// Whether the sequence has a prefix that makes it somebody else's, such as `?`.
    is_private: bool,
    look: Look,
    line: Line,
    column: usize,
    take: &'a mut dyn FnMut(Line),
}

/// Reads output and hands its lines over, one after the other; the last one also where it has no end yet.
pub fn lines(output: &[u8], take: &mut dyn FnMut(Line)) {
    let mut terminal = Terminal {
        reading: Reading::Text,
        parameters: [0; 16],
        count: 0,
        is_private: false,
        look: Look::default(),
        line: Line::default(),
        column: 0,
        take,
    };
    for chunk in output.utf8_chunks() {
        chunk.valid().chars().for_each(|c| terminal.see(c));
        if !chunk.invalid().is_empty() {
            terminal.see(char::REPLACEMENT_CHARACTER);
        }
    }
    if !terminal.line.is_empty() {
        terminal.end_line();
    }
}

impl Terminal<'_> {
    fn see(&mut self, c: char) {
        // A line end ends whatever was not finished.
        if c == '\n' {
            self.reading = Reading::Text;
            return self.end_line();
        }
        match self.reading {
            Reading::Text => self.see_text(c),
            Reading::Escape => {
                self.reading = match c {
                    '[' => {
                        (self.parameters, self.count, self.is_private) = ([0; 16], 0, false);
                        Reading::Control
                    }
                    ']' | 'P' | 'X' | '^' | '_' => Reading::String,
                    '(' | ')' | '*' | '+' | '#' | ' ' => Reading::Charset,
                    _ => Reading::Text,
                }
            }
            Reading::Charset => self.reading = Reading::Text,
            Reading::Control => self.see_control(c),
            Reading::String => match c {
                '\u{7}' | '\u{9c}' => self.reading = Reading::Text,
                '\u{1b}' => self.reading = Reading::StringEscape,
                _ => {}
            },
            Reading::StringEscape => {
                self.reading = if c == '\\' { Reading::Text } else { Reading::String };
            }
        }
    }

    fn see_text(&mut self, c: char) {
        match c {
            '\u{1b}' => self.reading = Reading::Escape,
            '\r' => self.column = 0,
            '\u{8}' => self.column = self.column.saturating_sub(1),
            '\t' => self.move_to((self.column / 8 + 1) * 8),
            // Bell, shift out and in: heard or obeyed, never seen.
            '\u{7}' | '\u{e}' | '\u{f}' | '\0' => {}
            c => self.put(c),
        }
    }

    fn see_control(&mut self, c: char) {
        match c {
            '0'..='9' => {
                self.count = self.count.max(1);
                if let Some(parameter) = self.parameters.get_mut(self.count - 1) {
                    *parameter = parameter.saturating_mul(10).saturating_add(c as u16 - '0' as u16);
                }
            }
            ';' | ':' => self.count = (self.count.max(1) + 1).min(self.parameters.len() + 1),
            '<'..='?' => self.is_private = true,
            ' '..='/' => self.is_private = true,
            '\u{40}'..='\u{7e}' => {
                self.reading = Reading::Text;
                if !self.is_private {
                    self.obey(c);
                }
            }
            '\u{1b}' => self.reading = Reading::Escape,
            // Not a control sequence after all.
            _ => self.reading = Reading::Text,
        }
    }

    fn obey(&mut self, command: char) {
        let steps = usize::from(self.parameters[0].max(1));
        match command {
            'm' => self.change_look(),
            'C' => self.move_to(self.column.saturating_add(steps)),
            'D' => self.column = self.column.saturating_sub(steps),
            'G' => self.move_to(steps - 1),
            'K' => match self.parameters[0] {
                0 => self.line.cells.truncate(self.column),
                1 => {
                    let end = (self.column + 1).min(self.line.cells.len());
                    self.line.cells[..end].fill((' ', Look::default()));
                }
                _ => self.line.cells.clear(),
            },
            'P' => {
                let from = self.column.min(self.line.cells.len());
                let to = from.saturating_add(steps).min(self.line.cells.len());
                self.line.cells.drain(from..to);
            }
            // Up, down, home, erase the screen: this terminal has but one line.
            _ => {}
        }
    }

    fn move_to(&mut self, column: usize) {
        self.column = column.min(FARTHEST.max(self.line.cells.len()));
    }

    fn put(&mut self, c: char) {
        if self.column >= LONGEST {
            self.line.cut += 1;
            return;
        }
        while self.line.cells.len() < self.column {
            self.line.cells.push((' ', Look::default()));
        }
        match self.line.cells.get_mut(self.column) {
            Some(cell) => *cell = (c, self.look),
            None => self.line.cells.push((c, self.look)),
        }
        self.column += 1;
    }

    fn end_line(&mut self) {
        self.column = 0;
        let line = std::mem::take(&mut self.line);
        (self.take)(line);
    }

    /// Select graphic rendition, ECMA-48 8.3.117, with the colours of xterm.
    fn change_look(&mut self) {
        let count = self.count.clamp(1, self.parameters.len());
        let parameters = self.parameters;
        let mut rest = parameters[..count].iter().copied();
        while let Some(parameter) = rest.next() {
            let look = &mut self.look;
            match parameter {
                0 => *look = Look::default(),
                1 => look.is_bold = true,
                2 => look.is_dim = true,
                3 => look.is_italic = true,
                4 | 21 => look.is_underlined = true,
                7 => look.is_inverse = true,
                9 => look.is_struck = true,
                22 => (look.is_bold, look.is_dim) = (false, false),
                23 => look.is_italic = false,
                24 => look.is_underlined = false,
                27 => look.is_inverse = false,
                29 => look.is_struck = false,
                30..=37 => look.foreground = Some(parameter as u8 - 30),
                38 => look.foreground = extended(&mut rest).or(look.foreground),
                39 => look.foreground = None,
                40..=47 => look.background = Some(parameter as u8 - 40),
                48 => look.background = extended(&mut rest).or(look.background),
                49 => look.background = None,
                90..=97 => look.foreground = Some(parameter as u8 - 90 + 8),
                100..=107 => look.background = Some(parameter as u8 - 100 + 8),
                _ => {}
            }
        }
    }
}

/// `5;N` or `2;R;G;B`, brought to the nearest of the 16 colours: those can be read on every background.
fn extended(rest: &mut impl Iterator<Item = u16>) -> Option<u8> {
    match rest.next()? {
        5 => match rest.next()? {
            index @ 0..=15 => Some(index as u8),
            index @ 16..=231 => {
                let part = |divisor: u16| [0, 95, 135, 175, 215, 255][usize::from((index - 16) / divisor % 6)];
                Some(nearest([part(36), part(6), part(1)]))
            }
            index @ 232..=255 => Some(nearest([i32::from(8 + 10 * (index - 232)); 3])),
            _ => None,
        },
        2 => {
            let mut part = || Some(i32::from(rest.next()?.min(255)));
            Some(nearest([part()?, part()?, part()?]))
        }
        _ => None,
    }
}

fn nearest(colour: [i32; 3]) -> u8 {
    let distance = |other: [i32; 3]| -> i32 { colour.iter().zip(other).map(|(a, b)| (a - b).pow(2)).sum() };
    let of = |index: u8| {
        let full = if index < 8 { 187 } else { 255 };
        let empty = if index < 8 { 0 } else { 85 };
        [1, 2, 4].map(|bit| if index & bit != 0 { full } else { empty })
    };
    (0..16).min_by_key(|index| distance(of(*index))).unwrap_or(7)
}

impl Line {
    fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.cut == 0
    }

    /// Whether there is nothing to be seen on it.
    pub fn is_blank(&self) -> bool {
        self.cells.iter().all(|(c, _)| c.is_whitespace())
    }

    /// Its text.
    pub fn text(&self) -> String {
        self.cells.iter().map(|(c, _)| *c).collect()
    }

    /// Its first characters, at most so many.
    pub fn clipped(mut self, most: usize) -> Self {
        self.cut += self.cells.len().saturating_sub(most) as u64;
        self.cells.truncate(most);
        self
    }

    /// Writes it, with a line end.
    pub fn write(&self, html: &mut Html) {
        let mut rest = &self.cells[..];
        while let Some((_, look)) = rest.first() {
            let same = rest.iter().take_while(|(_, other)| other == look).count();
            let (run, after) = rest.split_at(same);
            let text: String = run.iter().map(|(c, _)| *c).collect();
            match look.class() {
                class if class.is_empty() => html.text(text),
                class => html.element("span", &[("class", &class)], |html| html.text(text)),
            }
            rest = after;
        }
        if self.cut > 0 {
            html.word("i", "", format_args!(" \u{2026} and {} more characters", self.cut));
        }
        html.literal("\n");
    }
}

impl Look {
    fn class(self) -> String {
        let mut class = String::new();
        let mut add = |word: &str| {
            if !class.is_empty() {
                class.push(' ');
            }
            class.push_str(word);
        };
        let (mut front, mut back) = (self.foreground, self.background);
        if self.is_inverse {
            (front, back) = (back, front);
        }
        match (front, back) {
            // A colour behind the text brings its own colour of text: any other may be unreadable on it.
            (_, Some(colour)) => add(BACK[usize::from(colour & 15)]),
            (Some(colour), None) => add(FRONT[usize::from(colour & 15)]),
            (None, None) => {}
        }
        if self.is_inverse && back.is_none() {
            add("iv");
        }
        for (is_on, word) in [
            (self.is_bold, "bo"),
            (self.is_dim, "di"),
            (self.is_italic, "it"),
            (self.is_underlined, "un"),
            (self.is_struck, "st"),
        ] {
            if is_on {
                add(word);
            }
        }
        class
    }
}

const FRONT: [&str; 16] =
    ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14", "f15"];
const BACK: [&str; 16] =
    ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "b10", "b11", "b12", "b13", "b14", "b15"];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(output: impl AsRef<[u8]>) -> String {
        let mut html = Html::default();
        lines(output.as_ref(), &mut |line| line.write(&mut html));
        html.as_str().to_owned()
    }

    #[test]
    fn colours_become_classes() {
        assert_eq!(shown("\x1b[1;31mred\x1b[0m plain"), "<span class=\"f1 bo\">red</span> plain\n");
        assert_eq!(
            shown("\x1b[38;5;203mx\x1b[38;2;0;0;180my"),
            "<span class=\"f9\">x</span><span class=\"f4\">y</span>\n"
        );
        assert_eq!(shown("\x1b[30;43mx"), "<span class=\"b3\">x</span>\n", "text on a colour is readable");
        assert_eq!(shown("\x1b[7mx\x1b[27my"), "<span class=\"iv\">x</span>y\n");
        assert_eq!(shown("\x1b[31mx\ny\x1b[39mz"), "<span class=\"f1\">x</span>\n<span class=\"f1\">y</span>z\n");
    }

    #[test]
    fn a_progress_bar_is_what_it_was_in_the_end() {
        assert_eq!(shown("10 %\r50 %\r100 %\ndone\n"), "100 %\ndone\n");
        assert_eq!(shown("a long line\r\x1b[Kshort"), "short\n");
        assert_eq!(shown("abc\x08\x08X"), "aXc\n");
        assert_eq!(shown("a\tb\x1b[2Gc"), "ac      b\n");
        assert_eq!(shown("line\r\nline\r\n"), "line\nline\n");
    }

    #[test]
    fn what_only_a_terminal_would_obey_is_left_out() {
        assert_eq!(shown("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b"), "alinkb\n");
        assert_eq!(shown("\x1b[?25l\x1b[2J\x1b[Hx\x1b(By\x1bPdata\x1b\\z\x07"), "xyz\n");
        assert_eq!(shown("\x1b]0;never ended\nnext"), "\nnext\n");
    }

    #[test]
    fn output_is_text_and_nothing_else() {
        assert_eq!(shown("<script>&\"\x01"), "&lt;script&gt;&amp;&quot;\u{27e8}U+0001\u{27e9}\n");
        assert_eq!(shown(b"\xff\xfeok\xe2\x82\n"), "\u{fffd}\u{fffd}ok\u{fffd}\n");
    }

    #[test]
    fn sequences_made_to_fill_memory_fill_little_of_it() {
        let mut most = 0;
        let mut take = |line: Line| most = most.max(line.cells.len());
        lines("\x1b[65535C\x1b[999999999999Cx\n".repeat(100).as_bytes(), &mut take);
        lines(&[b'x'; 100_000], &mut take);
        lines("\x1b[;;;;;;;;;;;;;;;;;;;;;;;;;;;1;2;3m\x1b[38;5m\x1b[38;2;1mx".as_bytes(), &mut take);
        lines("\t".repeat(10_000).as_bytes(), &mut take);
        assert_eq!(most, LONGEST);
        assert!(shown([b'x'; 5000]).contains("and 904 more characters"));
    }
}
