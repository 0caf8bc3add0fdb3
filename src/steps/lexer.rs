//! A shell script cut into words and operators, as far as steps need it.
//!
//! bash itself says which lines a command spans; this reader only finds, within those lines, where the
//! command's text is, how its lists are joined and what a block's text is. It never fails: what it does not
//! understand becomes a word, and a wrong guess costs a worse text, never a wrong status.

use std::ops::Range;

/// A piece of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word, quotes included.
    Word(Range<usize>),
    /// `;`, or one of the separators of `case`.
    Semicolon,
    /// `&`
    Background,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `|`, `|&`
    Pipe,
    /// The end of a line, which stands at this offset; the bodies of heredocs after it have been passed.
    Newline(usize),
    /// `(`
    Open,
    /// `)`
    Close,
    /// `<`, `>>`, `2>&` and so on: the next word is no word of the command.
    Redirection,
    /// A heredoc, by its place in [`Lexer::heredocs`].
    Heredoc(usize),
}

/// A heredoc and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    delimiter: Vec<u8>,
    strip_tabs: bool,
    /// The delimiter is not quoted: variables and `\` are expanded before anyone reads the body.
    pub expands: bool,
    /// The body, without the line of the delimiter. Empty until its line is reached.
    pub body: Range<usize>,
}

/// The reader.
#[derive(Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// All heredocs met so far.
    pub heredocs: Vec<Heredoc>,
    waiting: Vec<usize>,
}

impl<'a> Lexer<'a> {
    /// Begins at the text's first byte.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, heredocs: Vec::new(), waiting: Vec::new() }
    }

    /// How far it has come.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// At `((`, which is arithmetic where a command may begin: passes it, as one word.
    pub fn arithmetic(&mut self) -> Option<Range<usize>> {
        self.skip_blanks();
        let start = self.at;
        if !self.rest().starts_with(b"((") {
            return None;
        }
        self.skip_parentheses();
        Some(start..self.at)
    }

    /// Passes the `()` after a function's name.
    pub fn skip_empty_parentheses(&mut self) {
        self.skip_blanks();
        if self.peek(0) == b'(' {
            self.at += 1;
            self.skip_blanks();
            self.at += usize::from(self.peek(0) == b')');
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_blanks(&mut self) {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b' ' | b'\t' | b'\r', _) => self.at += 1,
                (b'\\', b'\n') => self.at += 2,
                (b'#', _) => {
                    self.at += self.rest().iter().position(|byte| *byte == b'\n').unwrap_or(self.rest().len());
                }
                _ => return,
            }
        }
    }

    /// The next token, `None` at the end.
    pub fn next(&mut self) -> Option<Token> {
        self.skip_blanks();
        if self.at >= self.text.len() {
            return None;
        }
        let (length, token) = match (self.peek(0), self.peek(1)) {
            (b'\n', _) => {
                let newline = self.at;
                self.at += 1;
                self.read_bodies();
                return Some(Token::Newline(newline));
            }
            (b'&', b'&') => (2, Token::And),
            (b'&', b'>') => (2 + usize::from(self.peek(2) == b'>'), Token::Redirection),
            (b'&', _) => (1, Token::Background),
            (b'|', b'|') => (2, Token::Or),
            (b'|', next) => (1 + usize::from(next == b'&'), Token::Pipe),
            (b';', next) => {
                let more = if next == b';' { 1 + usize::from(self.peek(2) == b'&') } else { usize::from(next == b'&') };
                (1 + more, Token::Semicolon)
            }
            (b'(', _) => (1, Token::Open),
            (b')', _) => (1, Token::Close),
            (b'<' | b'>', b'(') => return Some(self.word()),
            (b'<', b'<') if self.peek(2) == b'<' => (3, Token::Redirection),
            (b'<', b'<') => return Some(self.heredoc()),
            (b'<', next) => (1 + usize::from(matches!(next, b'&' | b'>')), Token::Redirection),
            (b'>', next) => (1 + usize::from(matches!(next, b'&' | b'>' | b'|')), Token::Redirection),
            _ => return Some(self.word()),
        };
        self.at += length;
        Some(token)
    }

    fn heredoc(&mut self) -> Token {
        self.at += 2;
        let strip_tabs = self.peek(0) == b'-';
        self.at += usize::from(strip_tabs);
        self.skip_blanks();
        let word = match self.word() {
            Token::Word(word) => word,
            _ => self.at..self.at,
        };
        let raw = self.text.get(word).unwrap_or_default();
        let delimiter: Vec<u8> = raw.iter().copied().filter(|byte| !b"'\"\\".contains(byte)).collect();
        self.waiting.push(self.heredocs.len());
        self.heredocs.push(Heredoc {
            expands: delimiter.len() == raw.len(),
            delimiter,
            strip_tabs,
            body: self.at..self.at,
        });
        Token::Heredoc(self.heredocs.len() - 1)
    }

    /// Passes the bodies of the heredocs that the line just ended has announced.
    fn read_bodies(&mut self) {
        for index in std::mem::take(&mut self.waiting) {
            let start = self.at;
            let heredoc = &mut self.heredocs[index];
            loop {
                let line_start = self.at;
                let rest = self.text.get(self.at..).unwrap_or_default();
                let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
                self.at = (self.at + line.len() + 1).min(self.text.len());
                let tabs = if heredoc.strip_tabs { line.iter().take_while(|byte| **byte == b'\t').count() } else { 0 };
                if line[tabs..] == heredoc.delimiter[..] || rest.is_empty() {
                    heredoc.body = start..line_start;
                    break;
                }
            }
        }
    }

    /// A word; the caller has seen that one begins here. Passes at least one byte.
    fn word(&mut self) -> Token {
        let start = self.at;
        while self.at < self.text.len() {
            let before = if self.at > start { self.text[self.at - 1] } else { b' ' };
            match (self.peek(0), self.peek(1)) {
                (b'<' | b'>', b'(') => {
                    self.at += 1;
                    self.skip_parentheses();
                }
                // `2>file`: the number belongs to the operator.
                (b'<' | b'>', _) if self.text[start..self.at].iter().all(u8::is_ascii_digit) && self.at > start => {
                    return self.next().unwrap_or(Token::Redirection);
                }
                // `name=(…)` and the patterns `@(…)`.
                (b'(', _) if b"=@!*+?".contains(&before) => self.skip_parentheses(),
                (b' ' | b'\t' | b'\r' | b'\n' | b'|' | b'&' | b';' | b'(' | b')' | b'<' | b'>', _) => break,
                _ => self.skip_piece(),
            }
        }
        if self.at == start {
            self.at += 1;
        }
        Token::Word(start..self.at)
    }

    /// One byte, or one quoted or substituted stretch.
    fn skip_piece(&mut self) {
        match (self.peek(0), self.peek(1)) {
            (b'\\', _) => self.at += 2,
            (b'\'', _) => self.skip_to(b'\'', false),
            (b'"', _) => self.skip_double_quotes(),
            (b'`', _) => self.skip_to(b'`', true),
            (b'$', b'\'') => {
                self.at += 1;
                self.skip_to(b'\'', true);
            }
            (b'$', b'(') => {
                self.at += 1;
                self.skip_parentheses();
            }
            (b'$', b'{') => self.skip_braces(),
            _ => self.at += 1,
        }
        self.at = self.at.min(self.text.len());
    }

    fn skip_to(&mut self, end: u8, escapes: bool) {
        self.at += 1;
        while self.at < self.text.len() && self.peek(0) != end {
            self.at += if escapes && self.peek(0) == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.text.len());
    }

    fn skip_double_quotes(&mut self) {
        self.at += 1;
        while self.at < self.text.len() && self.peek(0) != b'"' {
            match (self.peek(0), self.peek(1)) {
                (b'\'', _) | (b'$', b'\'') => self.at += 1,
                _ => self.skip_piece(),
            }
        }
        self.at = (self.at + 1).min(self.text.len());
    }

    fn skip_braces(&mut self) {
        self.at += 2;
        while self.at < self.text.len() && self.peek(0) != b'}' {
            self.skip_piece();
        }
        self.at = (self.at + 1).min(self.text.len());
    }

    /// From an opening parenthesis to the one that closes it.
    fn skip_parentheses(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.text.len() {
            let blank_before = self.at > 0 && self.text[self.at - 1].is_ascii_whitespace();
            match self.peek(0) {
                b'(' => {
                    depth += 1;
                    self.at += 1;
                }
                b')' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                    if depth == 0 {
                        return;
                    }
                }
                b'#' if blank_before => self.skip_blanks(),
                _ => self.skip_piece(),
            }
        }
    }
}
