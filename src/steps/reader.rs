//! The structure of a script: where top-level commands end, how their lists are joined.

use std::ops::Range;

use super::lexer::{Heredoc, Lexer, Token};
use super::script::{Command, List, Pipeline, Unit};

/// What is open around the current word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// `if`, `while`, `for`, `{` … until its last keyword.
    Keyword,
    /// `case … in` until `esac`: parentheses close patterns.
    Case,
    /// `(`
    Parenthesis,
}

/// What the next word may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// A command or a keyword.
    Command,
    /// A further word of the command.
    Word,
    /// What stands between `for` or `case` and the commands.
    Header,
    /// The word after `function`.
    FunctionName,
    /// The target of a redirection; then this again.
    Target(Next),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Command,
    Word,
    Header,
}

/// Reads a text once, from the first byte to the last.
pub struct Reader<'a> {
    text: &'a [u8],
    starts: &'a [usize],
    lexer: Lexer<'a>,
    frames: Vec<Frame>,
    expect: Expect,
    command: Option<usize>,
    unit: Unit,
    list: List,
    negated: bool,
    /// The last separator wants something after it: a newline does not end the command.
    continues: bool,
    in_pipeline: bool,
    units: Vec<Unit>,
    commands: Vec<Command>,
}

impl<'a> Reader<'a> {
    /// `starts` are the offsets of the lines.
    pub fn new(text: &'a [u8], starts: &'a [usize]) -> Self {
        Self {
            text,
            starts,
            lexer: Lexer::new(text),
            frames: Vec::new(),
            expect: Expect::Command,
            command: None,
            unit: Unit::default(),
            list: List::default(),
            negated: false,
            continues: false,
            in_pipeline: false,
            units: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// What was found.
    pub fn finish(self) -> (Vec<Unit>, Vec<Command>, Vec<Heredoc>) {
        (self.units, self.commands, self.lexer.heredocs)
    }

    fn line(&self, offset: usize) -> u32 {
        u32::try_from(self.starts.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }

    /// Reads everything.
    pub fn read(&mut self) {
        loop {
            if matches!(self.expect, Expect::Command | Expect::Header)
                && let Some(span) = self.lexer.arithmetic()
            {
                self.extend(&span);
                if self.expect == Expect::Command {
                    self.begin_pipeline(span);
                    self.continues = false;
                    self.expect = Expect::Word;
                }
                continue;
            }
            let Some(token) = self.lexer.next() else {
                break;
            };
            self.take(token);
        }
        self.end_unit();
    }

    fn extend(&mut self, span: &Range<usize>) {
        let lines = (self.line(span.start), self.line(span.end.saturating_sub(1)));
        self.unit.extend(span.clone(), lines.0, lines.1);
    }

    fn take(&mut self, token: Token) {
        if let Some(command) = self.command {
            self.commands[command].note(&token);
        }
        match token {
            Token::Word(span) => {
                self.extend(&span);
                self.word(span);
            }
            Token::Redirection => {
                self.expect = Expect::Target(match self.expect {
                    Expect::Command => Next::Command,
                    Expect::Word | Expect::FunctionName => Next::Word,
                    Expect::Header => Next::Header,
                    Expect::Target(next) => next,
                });
            }
            Token::Heredoc(_) => {
                let end = self.lexer.offset();
                self.extend(&(end.saturating_sub(1)..end));
            }
            Token::Open => self.open(),
            Token::Close => {
                let end = self.lexer.offset();
                self.extend(&(end.saturating_sub(1)..end));
                match self.frames.last() {
                    Some(Frame::Case) => self.separate(),
                    Some(Frame::Parenthesis) => {
                        self.frames.pop();
                        self.command = None;
                        // In `case` a pattern may have an opening parenthesis as well.
                        self.expect =
                            if self.frames.last() == Some(&Frame::Case) { Expect::Command } else { Expect::Word };
                    }
                    Some(Frame::Keyword) | None => {}
                }
            }
            Token::Semicolon | Token::Background => {
                self.separate();
                if self.frames.is_empty() {
                    self.end_list();
                }
            }
            Token::And | Token::Or => {
                self.separate();
                self.continues = true;
                if self.frames.is_empty() {
                    self.list.joined_by_and.push(token == Token::And);
                }
            }
            Token::Pipe => {
                self.separate();
                self.continues = true;
                if self.frames.is_empty() {
                    self.in_pipeline = true;
                    if let Some(pipeline) = self.list.pipelines.last_mut() {
                        pipeline.piped = true;
                    }
                }
            }
            Token::Newline(_) => {
                let continues = self.continues;
                self.separate();
                self.continues = continues;
                if self.frames.is_empty() && !continues {
                    let last = self.line(self.lexer.offset().saturating_sub(1));
                    self.unit.last_line = self.unit.last_line.max(last);
                    self.end_unit();
                }
            }
        }
    }

    /// A command ends; another may begin.
    fn separate(&mut self) {
        self.command = None;
        self.expect = Expect::Command;
        self.continues = false;
    }

    fn open(&mut self) {
        let end = self.lexer.offset();
        let span = end.saturating_sub(1)..end;
        self.extend(&span);
        if self.command.is_some_and(|command| self.commands[command].word_count() == 1) {
            self.lexer.next();
            self.expect_body();
        } else {
            self.begin_pipeline(span);
            self.frames.push(Frame::Parenthesis);
            self.separate();
        }
    }

    /// After the name of a function: its body is the next command, perhaps on the next line.
    fn expect_body(&mut self) {
        self.separate();
        self.continues = true;
        self.in_pipeline = true;
    }

    fn word(&mut self, span: Range<usize>) {
        let text = &self.text[span.clone()];
        match self.expect {
            Expect::Target(Next::Command) => self.expect = Expect::Command,
            Expect::Target(Next::Word) => self.expect = Expect::Word,
            Expect::Target(Next::Header) => self.expect = Expect::Header,
            Expect::Word => {
                if let Some(command) = self.command {
                    self.commands[command].push_word(span);
                }
            }
            Expect::FunctionName => {
                self.lexer.skip_empty_parentheses();
                self.expect_body();
            }
            Expect::Header => {
                if text == b"in" && self.frames.last() == Some(&Frame::Case) {
                    self.expect = Expect::Command;
                }
            }
            Expect::Command => {
                self.continues = false;
                match text {
                    b"!" => self.negated = !self.negated,
                    b"time" | b"coproc" | b"then" | b"else" | b"elif" | b"do" => {}
                    b"function" => {
                        self.begin_pipeline(span);
                        self.expect = Expect::FunctionName;
                    }
                    b"if" | b"while" | b"until" | b"{" => {
                        self.begin_compound(span, Frame::Keyword, Expect::Command);
                    }
                    b"for" | b"select" => self.begin_compound(span, Frame::Keyword, Expect::Header),
                    b"case" => self.begin_compound(span, Frame::Case, Expect::Header),
                    b"fi" | b"done" | b"esac" | b"}" => {
                        self.frames.pop();
                        self.expect = Expect::Word;
                    }
                    b"[[" => {
                        self.begin_pipeline(span);
                        self.skip_condition();
                        self.expect = Expect::Word;
                    }
                    _ => {
                        self.begin_pipeline(span.clone());
                        let mut command = Command::new(self.line(span.start));
                        command.push_word(span);
                        self.command = Some(self.commands.len());
                        self.commands.push(command);
                        self.expect = Expect::Word;
                    }
                }
            }
        }
    }

    /// Inside `[[ … ]]`, `&&`, `(` and `<` are its own.
    fn skip_condition(&mut self) {
        while let Some(token) = self.lexer.next() {
            if let Token::Word(span) = token {
                self.extend(&span);
                if self.text[span] == *b"]]" {
                    return;
                }
            }
        }
    }

    fn begin_compound(&mut self, span: Range<usize>, frame: Frame, expect: Expect) {
        self.begin_pipeline(span);
        self.frames.push(frame);
        self.expect = expect;
    }

    fn begin_pipeline(&mut self, word: Range<usize>) {
        if self.frames.is_empty() {
            if !self.in_pipeline {
                self.list.pipelines.push(Pipeline { negated: self.negated, word, piped: false });
            }
            self.in_pipeline = false;
            self.negated = false;
        }
    }

    fn end_list(&mut self) {
        let list = std::mem::take(&mut self.list);
        if !list.pipelines.is_empty() {
            self.unit.lists.push(list);
        }
        self.in_pipeline = false;
    }

    fn end_unit(&mut self) {
        self.end_list();
        let unit = std::mem::take(&mut self.unit);
        if !unit.lists.is_empty() {
            self.units.push(unit);
        }
    }
}
