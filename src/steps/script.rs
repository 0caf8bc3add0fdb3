//! A script's text by lines: its top-level commands, and the blocks inside them.

use std::borrow::Cow;
use std::ops::Range;

use super::lexer::{Heredoc, Token};

/// Longest text of a command that is kept, in bytes.
const LONGEST_COMMAND: usize = 500;

/// A script, or the text of a block inside one.
#[derive(Debug)]
pub struct Script {
    text: Vec<u8>,
    /// For each line of `text`, its line in the script the user wrote.
    lines: Vec<u32>,
    starts: Vec<usize>,
    /// Its top-level commands, in order.
    pub units: Vec<Unit>,
    /// All simple commands, also those inside functions and compound commands, in order.
    pub commands: Vec<Command>,
    heredocs: Vec<Heredoc>,
}

/// One top-level command: what bash reads and executes at a time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Line of its first word, counted in this text from 1.
    pub first_line: u32,
    /// Its last line, heredoc bodies included.
    pub last_line: u32,
    span: Range<usize>,
    /// Its lists, as `;` and `&` separate them.
    pub lists: Vec<List>,
}

/// Pipelines joined by `&&` and `||`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The pipelines: whether `!` stands before each, and the first word.
    pub pipelines: Vec<Pipeline>,
    /// What stands between them: whether it is `&&` (and not `||`).
    pub joined_by_and: Vec<bool>,
}

/// One pipeline of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pipeline {
    /// It begins with `!`.
    pub negated: bool,
    /// The words of its first command begin here.
    pub word: Range<usize>,
    /// It has more than one command.
    pub piped: bool,
}

/// One simple command.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// The line of its first word, counted in this text from 1.
    pub line: u32,
    words: Vec<Range<usize>>,
    heredocs: Vec<usize>,
    piped_on: bool,
}

/// The text that another shell gets from a command.
#[derive(Debug, PartialEq, Eq)]
pub struct BlockText {
    /// Place of the command in [`Script::commands`].
    pub command: usize,
    span: Range<usize>,
    expands: bool,
}

/// How a block's text reaches its shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// As a heredoc on standard input.
    Heredoc,
    /// As the argument of `-c`.
    Argument,
}

impl Script {
    /// Reads the script that runs.
    pub fn new(text: &[u8]) -> Self {
        let count = u32::try_from(text.split(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX);
        Self::with_lines(text.to_vec(), (1..=count).collect())
    }

    fn with_lines(text: Vec<u8>, lines: Vec<u32>) -> Self {
        let mut starts = vec![0];
        starts.extend(text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1));
        let mut script =
            Self { text: Vec::new(), lines, starts, units: Vec::new(), commands: Vec::new(), heredocs: Vec::new() };
        let mut reader = super::reader::Reader::new(&text, &script.starts);
        reader.read();
        (script.units, script.commands, script.heredocs) = reader.finish();
        script.text = text;
        script
    }

    /// The line in the user's script of a line of this text.
    pub fn line_in_script(&self, line: u32) -> u32 {
        let index = usize::try_from(line.max(1) - 1).unwrap_or(usize::MAX);
        self.lines.get(index).or(self.lines.last()).copied().unwrap_or(line)
    }

    /// The first line in the user's script.
    pub fn first_line(&self) -> u32 {
        self.lines.first().copied().unwrap_or(1)
    }

    /// The top-level command that begins in line `first` or, blank lines and comments later, after it, but
    /// not after `last`.
    pub fn unit(&self, first: u32, last: u32) -> Option<&Unit> {
        let index = self.units.partition_point(|unit| unit.first_line < first);
        self.units.get(index).filter(|unit| unit.first_line <= last)
    }

    /// The top-level command that this line is part of.
    pub fn unit_at(&self, line: u32) -> Option<&Unit> {
        let index = self.units.partition_point(|unit| unit.last_line < line);
        self.units.get(index).filter(|unit| unit.is_at(line))
    }

    /// Whether a command is the definition of a function.
    pub fn defines_function(&self, unit: &Unit) -> bool {
        let text = self.text.get(unit.span.clone()).unwrap_or_default();
        let text = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let name = text.split(|byte| byte.is_ascii_whitespace() || *byte == b'(').next().unwrap_or_default();
        let after = text.get(name.len()..).unwrap_or_default().trim_ascii_start();
        name == b"function"
            || !name.is_empty()
                && after.strip_prefix(b"(").is_some_and(|rest| rest.trim_ascii_start().starts_with(b")"))
    }

    /// Whether a command is `( … )`.
    pub fn is_subshell(&self, unit: &Unit) -> bool {
        self.text.get(unit.span.clone()).is_some_and(|text| text.starts_with(b"(") && !text.starts_with(b"(("))
    }

    /// Whether a command is one simple command and nothing else, so that its status is that command's.
    pub fn is_plain(&self, unit: &Unit) -> bool {
        let [List { pipelines, .. }] = &unit.lists[..] else { return false };
        let [pipeline] = &pipelines[..] else { return false };
        let is_simple = self.commands.iter().any(|command| command.words.first() == Some(&pipeline.word));
        is_simple && !pipeline.piped && !pipeline.negated && !self.defines_function(unit)
    }

    /// Whether a command ends with `&`.
    pub fn is_in_background(&self, unit: &Unit) -> bool {
        let text = self.text(unit);
        let line = text.lines().next().unwrap_or_default().trim_end();
        line.ends_with('&') && !line.ends_with("&&")
    }

    /// The command after this one.
    pub fn unit_after(&self, unit: &Unit) -> Option<&Unit> {
        let index = self.units.partition_point(|other| other.first_line <= unit.first_line);
        self.units.get(index)
    }

    /// What a command reads like: its text without the bodies of heredocs, bounded.
    pub fn text(&self, unit: &Unit) -> String {
        let mut text = Vec::new();
        let mut at = unit.span.start;
        for heredoc in self.heredocs.iter().filter(|heredoc| unit.span.contains(&heredoc.body.start)) {
            text.extend_from_slice(self.text.get(at..heredoc.body.start).unwrap_or_default());
            at = at.max(heredoc.body.end);
        }
        text.extend_from_slice(self.text.get(at..unit.span.end).unwrap_or_default());
        bounded(&text)
    }

    /// The text of one line, for a command inside a function or a loop.
    pub fn text_of_line(&self, line: u32) -> Option<String> {
        let index = usize::try_from(line.checked_sub(1)?).ok()?;
        let start = *self.starts.get(index)?;
        let line = self.text[start..].split(|byte| *byte == b'\n').next()?;
        Some(bounded(line)).filter(|text| !text.is_empty())
    }

    /// A word, quotes included.
    pub fn word(&self, span: &Range<usize>) -> Cow<'_, str> {
        String::from_utf8_lossy(self.text.get(span.clone()).unwrap_or_default())
    }

    /// Whether a simple command between these lines has `name` as its first word.
    pub fn runs(&self, name: &str) -> bool {
        self.commands.iter().any(|command| command.words.first().is_some_and(|word| self.word(word) == name))
    }

    /// The texts that other shells may get from the commands between two lines, in order.
    pub fn blocks(&self, lines: Range<u32>, means: Means) -> Vec<BlockText> {
        let first = self.commands.partition_point(|command| command.line < lines.start);
        let commands = self.commands.iter().enumerate().skip(first).take_while(|(_, command)| command.line < lines.end);
        commands.filter_map(|(index, command)| self.block(index, command, means)).collect()
    }

    fn block(&self, index: usize, command: &Command, means: Means) -> Option<BlockText> {
        let shell_like = |word: &Range<usize>| {
            let word = self.word(word);
            matches!(word.rsplit('/').next().unwrap_or(&word), "bash" | "sudo" | "su" | "runuser" | "rbash")
        };
        let starts_shell = command.words.iter().any(shell_like);
        match means {
            Means::Heredoc => {
                // `cat <<EOF | sudo -u user bash` hands its text on.
                let hands_on = command.piped_on && command.words.first().is_some_and(|word| self.word(word) == "cat");
                let heredoc = &self.heredocs[*command.heredocs.last().filter(|_| starts_shell || hands_on)?];
                Some(BlockText { command: index, span: heredoc.body.clone(), expands: heredoc.expands })
            }
            Means::Argument => {
                let option = command.words.iter().position(|word| {
                    let word = self.word(word);
                    word == "--command" || (word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'))
                })?;
                let span = command.words.get(option + 1).filter(|_| starts_shell)?.clone();
                let quotes = (self.text.get(span.start), self.text.get(span.end.checked_sub(1)?));
                match quotes {
                    (Some(b'\''), Some(b'\'')) => {
                        Some(BlockText { command: index, span: span.start + 1..span.end - 1, expands: false })
                    }
                    (Some(b'"'), Some(b'"')) => {
                        Some(BlockText { command: index, span: span.start + 1..span.end - 1, expands: true })
                    }
                    _ => Some(BlockText { command: index, span, expands: true }),
                }
            }
        }
    }

    /// The script inside: its lines know where they stand in the user's script.
    pub fn inner(&self, block: &BlockText) -> Self {
        let body = self.text.get(block.span.clone()).unwrap_or_default();
        let mut line =
            u32::try_from(self.starts.partition_point(|start| *start <= block.span.start)).unwrap_or(u32::MAX);
        let mut text = Vec::new();
        let mut lines = vec![self.line_in_script(line)];
        for piece in body.split_inclusive(|byte| *byte == b'\n') {
            line += 1;
            let content = piece.strip_suffix(b"\n").unwrap_or(piece);
            let backslashes = content.iter().rev().take_while(|byte| **byte == b'\\').count();
            if block.expands && backslashes % 2 == 1 && content.len() < piece.len() {
                // The outer shell removes backslash and newline: for the inner one this is one line.
                text.extend_from_slice(&content[..content.len() - 1]);
            } else {
                text.extend_from_slice(piece);
                lines.push(self.line_in_script(line));
            }
        }
        Self::with_lines(text, lines)
    }
}

fn bounded(text: &[u8]) -> String {
    let text = text.trim_ascii();
    match text.get(..LONGEST_COMMAND) {
        Some(start) if text.len() > LONGEST_COMMAND => {
            let start = String::from_utf8_lossy(start);
            // A character cut in two at the end is not the script's.
            format!("{}…", start.trim_end_matches(char::REPLACEMENT_CHARACTER))
        }
        _ => String::from_utf8_lossy(text).into_owned(),
    }
}

impl Command {
    /// A command that begins at a line.
    pub fn new(line: u32) -> Self {
        Self { line, words: Vec::new(), heredocs: Vec::new(), piped_on: false }
    }

    /// Adds a word.
    pub fn push_word(&mut self, word: Range<usize>) {
        self.words.push(word);
    }

    /// Adds what one of the other tokens says of it.
    pub fn note(&mut self, token: &Token) {
        match token {
            Token::Heredoc(index) => self.heredocs.push(*index),
            Token::Pipe => self.piped_on = true,
            Token::Word(_)
            | Token::Semicolon
            | Token::Background
            | Token::And
            | Token::Or
            | Token::Newline(_)
            | Token::Open
            | Token::Close
            | Token::Redirection => {}
        }
    }

    /// How many words it has so far.
    pub fn word_count(&self) -> usize {
        self.words.len()
    }
}

impl Unit {
    /// Whether a line is one of its.
    pub fn is_at(&self, line: u32) -> bool {
        (self.first_line..=self.last_line).contains(&line)
    }

    /// Sets where the unit begins or, again and again, where it ends.
    pub fn extend(&mut self, span: Range<usize>, first_line: u32, last_line: u32) {
        if self.first_line == 0 {
            self.first_line = first_line;
            self.span = span.clone();
        }
        self.span.end = self.span.end.max(span.end);
        self.last_line = last_line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = r#"#!/bin/bash
# a comment; not a command
echo a; false &
if [ -f x ] && grep -q "y;z" x; then
  apt-get install \
    -y foo
fi

f() {
  sudo -u inner bash <<-EOF
	echo $HOME
	EOF
}
function g
{ (cd /; ls); }
case $1 in
  a|b) echo "$(date) )";;
  (*) x=(1 2) ;;
esac
sudo -u azureuser -i <<'EOF'
cd ~
conda create -n x
EOF
! true || [[ a && ( b ) ]] && (( 1 > 2 ))
for ((i=0; i<3; i++)); do :; done >/dev/null 2>&1 | cat
sudo -u user bash -lc 'one
two'
last"#;

    fn units(script: &Script) -> Vec<(u32, u32, String)> {
        script.units.iter().map(|unit| (unit.first_line, unit.last_line, script.text(unit))).collect()
    }

    #[test]
    fn top_level_commands_have_their_lines_and_texts_without_heredoc_bodies() {
        let script = Script::new(SCRIPT.as_bytes());
        let lines: Vec<_> = units(&script).into_iter().map(|(first, last, _)| (first, last)).collect();
        assert_eq!(
            lines,
            [(3, 3), (4, 7), (9, 13), (14, 15), (16, 19), (20, 23), (24, 24), (25, 25), (26, 27), (28, 28)]
        );
        assert_eq!(units(&script)[5].2, "sudo -u azureuser -i <<'EOF'");
        assert_eq!(units(&script)[2].2, "f() {\n  sudo -u inner bash <<-EOF\n\tEOF\n}");
        assert_eq!(units(&script)[9].2, "last");
    }

    #[test]
    fn lists_know_their_operators_and_negations() {
        let script = Script::new(SCRIPT.as_bytes());
        let list = &script.units[6].lists[0];
        assert_eq!(list.joined_by_and, [false, true]);
        assert_eq!(list.pipelines.iter().map(|pipeline| pipeline.negated).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(script.units[0].lists.len(), 2);
        assert_eq!(script.units[1].lists[0].pipelines.len(), 1);
        assert!(script.units[7].lists[0].pipelines[0].piped);
    }

    #[test]
    fn blocks_are_found_and_their_lines_are_the_scripts() {
        let script = Script::new(SCRIPT.as_bytes());
        let blocks = script.blocks(1..100, Means::Heredoc);
        let lines: Vec<_> = blocks.iter().map(|block| script.commands[block.command].line).collect();
        assert_eq!(lines, [10, 20]);
        let inner = script.inner(&blocks[1]);
        assert_eq!(units(&inner)[1], (2, 2, "conda create -n x".to_owned()));
        assert_eq!(inner.line_in_script(2), 22);
        let strings = script.blocks(26..28, Means::Argument);
        let inner = script.inner(&strings[0]);
        assert_eq!(units(&inner), [(1, 1, "one".to_owned()), (2, 2, "two".to_owned())]);
        assert_eq!((inner.line_in_script(1), inner.line_in_script(2)), (26, 27));
    }

    #[test]
    fn a_continued_line_in_an_expanded_block_is_one_line_to_the_inner_shell() {
        let script = Script::new(b"bash <<EOF\none \\\n two\nthree\nEOF\n");
        let inner = script.inner(&script.blocks(1..2, Means::Heredoc)[0]);
        assert_eq!(units(&inner)[1].0, 2);
        assert_eq!(inner.line_in_script(2), 4);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([a-z \n;&|(){}<>'\"`$\\\\#!=]|if |fi|case |esac|<<E|\nE\n|\\(\\(|\\[\\[ |bash -c ){0,60}") {
            let script = Script::new(text.as_bytes());
            for means in [Means::Heredoc, Means::Argument] {
                for block in script.blocks(0..1000, means) {
                    script.inner(&block);
                }
            }
            for unit in &script.units {
                script.text(unit);
            }
        }
    }
}
