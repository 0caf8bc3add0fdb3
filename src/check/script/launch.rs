//! What a command really starts, behind `sudo`, `env`, `nohup` and the like, and whether that is a shell that
//! reads a block.

use super::model::{Command, Word};

/// A command with what stands before it taken away.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The name and arguments of what is started; empty for `sudo -i` alone.
    pub words: &'a [Word],
    /// Whose rights it has.
    pub user: User,
    /// It begins in that user's home with that user's profile.
    pub login: bool,
    /// It goes through `sudo`.
    pub sudo: bool,
    /// Variables handed through `sudo` by name; `None`: all of them.
    pub kept: Option<Vec<String>>,
    /// It goes through `nohup`, `setsid` or `systemd-run`.
    pub detached: bool,
    /// The shell, where it is one.
    pub shell: Option<ShellCall<'a>>,
}

/// Whose rights a command has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum User {
    /// Those of its caller.
    Same,
    /// Root's.
    Root,
    /// Another one's, as it is written.
    Other(String),
}

/// A shell that is started without a script file.
#[derive(Debug, Default)]
pub struct ShellCall<'a> {
    /// The program text of `-c`.
    pub text: Option<&'a Word>,
    /// Arguments follow.
    pub has_arguments: bool,
    /// `-e`
    pub errexit: bool,
    /// `-i`
    pub interactive: bool,
}

/// Commands that only start another one, with the options of theirs that take a value.
const STARTERS: [(&str, &[&str]); 11] = [
    ("env", &["-u", "-C", "-S"]),
    ("nohup", &[]),
    ("setsid", &[]),
    ("exec", &["-a"]),
    ("command", &[]),
    ("builtin", &[]),
    ("time", &[]),
    ("nice", &["-n"]),
    ("ionice", &["-c", "-n"]),
    ("stdbuf", &["-o", "-e", "-i"]),
    ("timeout", &["-k", "-s"]),
];

const SUDO_VALUES: &str = "ugphCrtTUDR";

impl<'a> Launch<'a> {
    /// What a command starts.
    pub fn of(command: &'a Command) -> Self {
        let mut launch = Self {
            words: &command.words,
            user: User::Same,
            login: false,
            sudo: false,
            kept: None,
            detached: false,
            shell: None,
        };
        while launch.peel() {}
        launch
    }

    /// The name of the program, without its folder.
    pub fn name(&self) -> &str {
        let name = self.words.first().map(Word::text).unwrap_or_default();
        name.rsplit('/').next().unwrap_or(name)
    }

    /// Its arguments.
    pub fn arguments(&self) -> &'a [Word] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Its arguments where they are known, without options.
    pub fn operands(&self) -> impl Iterator<Item = &'a Word> {
        self.arguments().iter().filter(|word| !word.raw.starts_with('-'))
    }

    /// It has one of these arguments.
    pub fn has(&self, options: &[&str]) -> bool {
        self.arguments().iter().any(|word| options.contains(&word.text()))
    }

    /// It has one of these letters among its short options.
    pub fn has_letter(&self, letters: &str) -> bool {
        self.arguments().iter().map(Word::text).any(|word| {
            word.len() > 1
                && word.starts_with('-')
                && !word.starts_with("--")
                && word[1..].contains(|c| letters.contains(c))
        })
    }

    /// Takes one layer away. False at the innermost one.
    fn peel(&mut self) -> bool {
        let name = self.name().to_owned();
        match name.as_str() {
            "sudo" => self.sudo(),
            "su" => self.su(1),
            "runuser" => match self.words.iter().position(|word| word.text() == "-u" || word.text() == "--user") {
                Some(at) => {
                    self.user = user(self.words.get(at + 1));
                    let rest = at + 2;
                    self.words = self.words.get(rest..).unwrap_or_default();
                    if self.words.first().is_some_and(|word| word.text() == "--") {
                        self.words = &self.words[1..];
                    }
                    true
                }
                None => self.su(1),
            },
            "bash" | "sh" | "dash" | "rbash" | "zsh" => {
                self.shell();
                false
            }
            _ => match STARTERS.iter().find(|(starter, _)| *starter == name) {
                Some((starter, values)) => {
                    self.detached |= matches!(*starter, "nohup" | "setsid");
                    let mut at = 1;
                    while let Some(word) = self.words.get(at) {
                        let text = word.text();
                        if values.contains(&text) {
                            at += 2;
                        } else if text.starts_with('-') || *starter == "env" && text.contains('=') {
                            at += 1;
                        } else {
                            break;
                        }
                    }
                    at += usize::from(*starter == "timeout");
                    self.words = self.words.get(at..).unwrap_or_default();
                    !self.words.is_empty()
                }
                None => false,
            },
        }
    }

    fn sudo(&mut self) -> bool {
        self.sudo = true;
        self.user = User::Root;
        let (mut kept, mut all) = (Vec::new(), false);
        let (mut at, mut own_shell) = (1, false);
        while let Some(word) = self.words.get(at) {
            let text = word.text();
            if text == "--" {
                at += 1;
                break;
            } else if let Some(long) = text.strip_prefix("--") {
                let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                match name {
                    "user" => {
                        self.user =
                            value.map_or_else(|| user(self.words.get(at + 1)), |value| User::Other(value.into()));
                        at += usize::from(value.is_none());
                    }
                    "login" => (self.login, own_shell) = (true, true),
                    "shell" => own_shell = true,
                    "preserve-env" => match value {
                        Some(names) => kept.extend(names.split(',').map(str::to_owned)),
                        None => all = true,
                    },
                    "group" | "host" | "prompt" | "chdir" | "chroot" | "close-from" => {
                        at += usize::from(value.is_none());
                    }
                    _ => {}
                }
            } else if text.starts_with('-') && text.len() > 1 {
                for (index, letter) in text.char_indices().skip(1) {
                    match letter {
                        'i' => (self.login, own_shell) = (true, true),
                        's' => own_shell = true,
                        'E' => all = true,
                        _ if SUDO_VALUES.contains(letter) => {
                            let attached = &text[index + 1..];
                            if letter == 'u' {
                                self.user = match attached {
                                    "" => user(self.words.get(at + 1)),
                                    name => User::Other(name.into()),
                                };
                            }
                            at += usize::from(attached.is_empty());
                            break;
                        }
                        _ => {}
                    }
                }
            } else if let Some((name, _)) = word.raw.split_once('=').filter(|(name, _)| is_name(name)) {
                kept.push(name.to_owned());
            } else {
                break;
            }
            at += 1;
        }
        if self.user == User::Other("root".into()) {
            self.user = User::Root;
        }
        self.kept = (!all).then_some(kept);
        self.words = self.words.get(at..).unwrap_or_default();
        if self.words.is_empty() && own_shell {
            self.shell = Some(ShellCall::default());
        }
        !self.words.is_empty()
    }

    /// `su [-] [USER] [-c TEXT]`
    fn su(&mut self, from: usize) -> bool {
        let mut shell = ShellCall::default();
        let mut name = None;
        let mut at = from;
        while let Some(word) = self.words.get(at) {
            match word.text() {
                "-" | "-l" | "--login" => self.login = true,
                "-c" | "--command" => {
                    at += 1;
                    shell.text = self.words.get(at);
                }
                "-lc" => {
                    self.login = true;
                    at += 1;
                    shell.text = self.words.get(at);
                }
                "-s" | "--shell" | "-g" | "-G" => at += 1,
                text if text.starts_with('-') => {}
                _ if name.is_none() => name = Some(user(Some(word))),
                _ => shell.has_arguments = true,
            }
            at += 1;
        }
        self.user = name.unwrap_or(User::Root);
        self.kept = self.login.then(Vec::new);
        self.words = &[];
        self.shell = Some(shell);
        false
    }

    /// `bash [-e] [-c TEXT | -s] [ARG…]`; a script's name makes it an ordinary command.
    fn shell(&mut self) {
        let mut shell = ShellCall::default();
        let (mut at, mut wants_text, mut reads_input) = (1, false, false);
        while let Some(word) = self.words.get(at) {
            let text = word.text();
            if matches!(text, "-" | "--") {
                at += 1;
                reads_input |= text == "-";
                break;
            }
            let is_option = text.len() > 1 && (text.starts_with('-') || text.starts_with('+'));
            if !is_option {
                break;
            }
            if !text.starts_with("--") && text.starts_with('-') {
                shell.errexit |= text.contains('e');
                shell.interactive |= text.contains('i');
                wants_text |= text.contains('c');
                reads_input |= text.contains('s');
                if text.ends_with('o') || text.ends_with('O') {
                    at += 1;
                    shell.errexit |= self.words.get(at).is_some_and(|word| word.text() == "errexit");
                }
            }
            at += 1;
        }
        let rest = self.words.get(at..).unwrap_or_default();
        if wants_text {
            shell.text = rest.first();
            shell.has_arguments = rest.len() > 2;
        } else if reads_input || rest.is_empty() || rest[0].text() == "/dev/stdin" {
            shell.has_arguments = !rest.is_empty();
        } else {
            return;
        }
        self.shell = Some(shell);
    }
}

/// A user as it is written; a variable's value is nobody that we know, but not root.
fn user(word: Option<&Word>) -> User {
    match word {
        Some(word) if word.literal.as_deref() == Some("root") => User::Root,
        Some(word) => User::Other(word.unquoted()),
        None => User::Root,
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
