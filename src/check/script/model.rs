//! A parsed script: shells inside shells, each with its commands in the order of the text.

use std::ops::Range;

use super::mapped::{FILLED_IN, Mapped};

/// One shell's program: the script, or the block that another shell reads.
#[derive(Debug, Default)]
pub struct Shell {
    /// Its text.
    pub text: Mapped,
    /// All simple commands, those in functions, substitutions and compound commands included.
    pub commands: Vec<Command>,
    /// All uses of variables that this shell itself expands, heredocs included.
    pub uses: Vec<Use>,
    /// The names it gives values to: assignments, `for`, `read`, functions' names excluded.
    pub assigned: Vec<String>,
    /// Names of its functions.
    pub functions: Vec<String>,
    /// Places that the grammar does not know.
    pub errors: Vec<usize>,
    /// How it was started; `None` for the script itself.
    pub block: Option<Block>,
    /// The shells that its commands start, in order.
    pub blocks: Vec<Shell>,
}

/// How the text of a block reaches its shell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Means {
    /// On standard input, as a heredoc.
    Heredoc,
    /// As the argument of `-c`.
    Argument,
}

/// How a block is started.
#[derive(Clone, Debug)]
pub struct Block {
    /// The command in the outer shell's `commands`.
    pub command: usize,
    /// Whose shell it is; `None` is the caller's own user.
    pub user: Option<String>,
    /// It begins in the user's home with the user's profile (`sudo -i`, `su -`).
    pub login: bool,
    /// The outer shell expands nothing in it.
    pub quoted: bool,
    /// How it gets its text.
    pub means: Means,
    /// It has arguments of its own (`bash -s -- a b`).
    pub has_arguments: bool,
    /// It is started with `-e`, or `-o errexit`.
    pub errexit: bool,
    /// Names of variables that it has from outside; `None`: all exported ones.
    pub environment: Option<Vec<String>>,
    /// It is started by an interactive shell, which reads `.bashrc`.
    pub interactive: bool,
    /// What the outer shell fills in.
    pub filled_in: Vec<FilledIn>,
}

/// Something that the outer shell expands inside a block.
#[derive(Clone, Debug)]
pub struct FilledIn {
    /// Where, in the outer shell's text.
    pub range: Range<usize>,
    /// A variable's name; `None` is a command substitution or arithmetic.
    pub variable: Option<String>,
}

/// One use of a variable.
#[derive(Clone, Debug)]
pub struct Use {
    /// The name: `HOME`, `1`, `@`.
    pub name: String,
    /// Where.
    pub at: usize,
    /// Inside a function, where `$1` is the function's.
    pub in_function: bool,
    /// With a default for when it is not set (`${x:-y}`).
    pub has_default: bool,
}

/// One word of a command.
#[derive(Clone, Debug)]
pub struct Word {
    /// Where.
    pub range: Range<usize>,
    /// As it stands there, quotes included.
    pub raw: String,
    /// Its value where the text alone tells it.
    pub literal: Option<String>,
    /// What the outer node is, for the words that are blocks.
    pub quotes: Quotes,
    /// Expansions in it.
    pub expansions: Vec<FilledIn>,
}

/// How a whole word is quoted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quotes {
    /// `'…'` from end to end.
    Single,
    /// `"…"` from end to end.
    Double,
    /// None, or several.
    Other,
}

impl Word {
    /// Its value, or nothing that equals any name.
    pub fn text(&self) -> &str {
        self.literal.as_deref().filter(|text| !text.contains(FILLED_IN)).unwrap_or("")
    }

    /// With quotes taken away and expansions as they stand: `$HOME/.bashrc`.
    pub fn unquoted(&self) -> String {
        self.raw.replace(['"', '\''], "")
    }
}

/// A heredoc.
#[derive(Clone, Debug)]
pub struct Heredoc {
    /// Its body.
    pub body: Range<usize>,
    /// The shell expands nothing in it.
    pub quoted: bool,
    /// What it expands.
    pub expansions: Vec<FilledIn>,
}

/// A redirection.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The descriptor before the operator.
    pub descriptor: Option<String>,
    /// `>`, `>>`, `<`, `&>`, `>&` …
    pub operator: String,
    /// Where to.
    pub target: Option<Word>,
}

/// Where a command stands.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// In a function.
    pub in_function: bool,
    /// Its failure is looked at: a condition, the left of `||`, after `!`.
    pub handled: bool,
    /// It runs only under a condition.
    pub guarded: bool,
    /// In `$(…)`, `<(…)` or backquotes.
    pub substituted: bool,
    /// It, or what it is part of, ends in `&`: where that begins.
    pub background: Option<usize>,
    /// Where the outermost `a && b` begins that it is part of.
    pub chain: Option<usize>,
    /// Something other than the shell's own input is its standard input.
    pub has_input: bool,
    /// Its standard output goes elsewhere than the shell's own.
    pub stdout_elsewhere: bool,
    /// Its standard error goes elsewhere than the shell's own.
    pub stderr_elsewhere: bool,
    /// The command that writes into its standard input.
    pub piped_from: Option<usize>,
    /// Its output goes into a pipe.
    pub piped_on: bool,
}

/// One simple command.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Where it begins.
    pub at: usize,
    /// Its words, the name first; none where it only assigns or redirects.
    pub words: Vec<Word>,
    /// The names before it that get values, with these.
    pub assignments: Vec<(String, Option<Word>)>,
    /// Its redirections but for heredocs.
    pub redirects: Vec<Redirect>,
    /// Its heredocs.
    pub heredocs: Vec<Heredoc>,
    /// Where it stands.
    pub scope: Scope,
}

impl Shell {
    /// This shell and all that it starts, each with the one it is started by.
    pub fn all(&self) -> Vec<(&Shell, Option<&Shell>)> {
        let mut all = vec![(self, None)];
        let mut next = 0;
        while let Some((shell, _)) = all.get(next).copied() {
            all.extend(shell.blocks.iter().map(|block| (block, Some(shell))));
            next += 1;
        }
        all
    }

    /// Its user is not the one that runs the script.
    pub fn is_other_users(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.user.is_some())
    }
}
