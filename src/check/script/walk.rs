//! From tree-sitter's tree to the model.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

use super::mapped::Mapped;
use super::model::{Command, FilledIn, Heredoc, Quotes, Redirect, Scope, Shell, Use, Word};

/// Deeper nesting than any script has is not followed.
const DEEPEST: usize = 300;

/// How long a text is parsed; thousands of lines take some 100 ms.
const LONGEST: Duration = Duration::from_secs(5);

/// The grammar loses a line's end behind a pipeline of three (`a | b | c`, then a command with a redirection).
/// More often than this in sequence happens in no script.
const MOST_REPAIRS: usize = 20;

/// Reads one shell's text. The shells that it starts are not looked for.
pub fn read(text: Mapped) -> Shell {
    let tree = parse(&text.text);
    let mut walker = Walker { text: &text.text, shell: Shell::default(), depth: 0 };
    if let Some(tree) = &tree {
        walker.visit(tree.root_node(), &Scope::default());
    }
    let mut shell = walker.shell;
    shell.text = text;
    shell
}

fn parse(text: &str) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_bash::LANGUAGE.into()).ok()?;
    let mut readable = text.as_bytes().to_vec();
    let end = Instant::now() + LONGEST;
    let mut tree = parse_until(&mut parser, &readable, end)?;
    for _ in 0..MOST_REPAIRS {
        let gaps = lost_line_ends(&tree, &readable);
        if gaps.is_empty() {
            break;
        }
        // Places stay the same: only blanks and comments become other blanks and a `;`.
        for gap in gaps {
            readable[gap.clone()].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            readable[gap.start] = b';';
        }
        tree = parse_until(&mut parser, &readable, end)?;
    }
    Some(tree)
}

/// Parses; `None` where that takes too long, as for a million open parentheses. `bash -n` then says what it
/// says, and the rules see nothing.
fn parse_until(parser: &mut Parser, text: &[u8], end: Instant) -> Option<Tree> {
    let mut watch =
        |_: &ParseState| if Instant::now() < end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    let options = ParseOptions::new().progress_callback(&mut watch);
    parser.parse_with_options(&mut |offset, _| text.get(offset..).unwrap_or_default(), None, Some(options))
}

/// Gaps between the words of one command in which a line ends.
fn lost_line_ends(tree: &Tree, text: &[u8]) -> Vec<Range<usize>> {
    let mut gaps = Vec::new();
    let mut open = vec![tree.root_node()];
    while let Some(node) = open.pop() {
        let parts: Vec<_> = children(node).map(|(child, _)| child).filter(|child| child.kind() != "comment").collect();
        if node.kind() == "command" {
            let between = parts.windows(2).filter(|pair| pair[0].kind() != "heredoc_redirect");
            gaps.extend(between.map(|pair| pair[0].end_byte()..pair[1].start_byte()).filter(|gap| {
                let line_end = text.get(gap.clone()).and_then(|gap| gap.iter().position(|byte| *byte == b'\n'));
                line_end.is_some_and(|at| at == 0 || text[gap.start + at - 1] != b'\\')
            }));
        }
        open.extend(parts);
    }
    gaps
}

struct Walker<'a> {
    text: &'a str,
    shell: Shell,
    depth: usize,
}

/// The parts of a node with their names, by a cursor: to ask for each by its number takes quadratic time.
fn children<'t>(node: Node<'t>) -> impl Iterator<Item = (Node<'t>, Option<&'t str>)> {
    let mut cursor = node.walk();
    let mut is_there = cursor.goto_first_child();
    std::iter::from_fn(move || {
        let found = is_there.then(|| (cursor.node(), cursor.field_name()));
        is_there = is_there && cursor.goto_next_sibling();
        found
    })
}

impl Walker<'_> {
    fn of(&self, node: Node<'_>) -> &str {
        &self.text[node.byte_range()]
    }

    fn visit(&mut self, node: Node<'_>, scope: &Scope) {
        if node.is_error() || node.is_missing() {
            self.shell.errors.push(node.start_byte());
        }
        if self.depth > DEEPEST {
            return;
        }
        self.depth += 1;
        self.visit_kind(node, scope);
        self.depth -= 1;
    }

    fn visit_kind(&mut self, node: Node<'_>, scope: &Scope) {
        match node.kind() {
            "command" => self.command(node, scope, Command::default()),
            "declaration_command" | "unset_command" | "variable_assignment" | "variable_assignments" => {
                self.assignment(node, scope);
            }
            "redirected_statement" => self.redirected(node, scope),
            "pipeline" => {
                let mut from = scope.piped_from;
                let parts: Vec<_> = children(node).filter(|(child, _)| child.is_named()).collect();
                for (index, (child, _)) in parts.iter().enumerate() {
                    let first = self.shell.commands.len();
                    let mut scope = scope.clone();
                    if index > 0 {
                        scope.piped_from = from;
                        scope.has_input = true;
                    }
                    if index + 1 < parts.len() {
                        scope.piped_on = true;
                        scope.stdout_elsewhere = true;
                    }
                    self.visit(*child, &scope);
                    from = Some(first);
                }
            }
            "list" => self.list(node, scope),
            "if_statement" | "elif_clause" => {
                for (child, field) in children(node) {
                    // `elif_clause` has no fields: what stands before its `then` is the condition.
                    let is_condition =
                        field == Some("condition") || node.kind() == "elif_clause" && before_then(node, child);
                    let scope = match is_condition {
                        true => Scope { handled: true, ..scope.clone() },
                        false => Scope { guarded: true, ..scope.clone() },
                    };
                    self.visit(child, &scope);
                }
            }
            "while_statement" => {
                for (child, field) in children(node) {
                    let handled = scope.handled || field == Some("condition");
                    self.visit(child, &Scope { handled, ..scope.clone() });
                }
            }
            "for_statement" => {
                if let Some(variable) = node.child_by_field_name("variable") {
                    let name = self.of(variable).to_owned();
                    self.shell.assigned.push(name);
                }
                self.sequence(node, scope);
            }
            "case_item" => self.sequence(node, &Scope { guarded: true, ..scope.clone() }),
            "negated_command" => self.sequence(node, &Scope { handled: true, ..scope.clone() }),
            "function_definition" => {
                if let Some(name) = node.child_by_field_name("name") {
                    let name = self.of(name).to_owned();
                    self.shell.functions.push(name);
                }
                self.sequence(node, &Scope { in_function: true, ..Scope::default() });
            }
            "command_substitution" | "process_substitution" => {
                let inner = Scope {
                    in_function: scope.in_function,
                    guarded: scope.guarded,
                    substituted: true,
                    handled: true,
                    stdout_elsewhere: true,
                    ..Scope::default()
                };
                self.sequence(node, &inner);
            }
            "simple_expansion" | "expansion" => {
                self.note_use(node, scope);
                self.sequence(node, scope);
            }
            _ => self.sequence(node, scope),
        }
    }

    /// All children, each with the `&` that may follow it.
    fn sequence(&mut self, node: Node<'_>, scope: &Scope) {
        let all: Vec<_> = children(node).map(|(child, _)| child).collect();
        for (index, child) in all.iter().enumerate() {
            let is_background = child.is_named() && all.get(index + 1).is_some_and(|next| next.kind() == "&");
            if is_background {
                let background = scope.background.or(Some(child.start_byte()));
                self.visit(*child, &Scope { background, ..scope.clone() });
            } else {
                self.visit(*child, scope);
            }
        }
    }

    /// `a && b || c`
    fn list(&mut self, node: Node<'_>, scope: &Scope) {
        let parts: Vec<_> = children(node).map(|(child, _)| child).collect();
        let is_or = parts.iter().any(|child| child.kind() == "||");
        let mut is_left = true;
        for child in parts {
            if matches!(child.kind(), "&&" | "||") {
                is_left = false;
                continue;
            }
            let handled = scope.handled || is_left && is_or;
            let guarded = scope.guarded || !is_left;
            let chain = scope.chain.or(Some(node.start_byte()));
            self.visit(child, &Scope { handled, guarded, chain, ..scope.clone() });
        }
    }

    fn redirected(&mut self, node: Node<'_>, scope: &Scope) {
        let mut extra = Command::default();
        let mut later = Vec::new();
        let is_redirect = |child: Node<'_>, field| field == Some("redirect") || child.kind() == "herestring_redirect";
        for (child, _) in children(node).filter(|(child, field)| is_redirect(*child, *field)) {
            self.redirect(child, scope, &mut extra, &mut later);
        }
        // In `cat <<E | bash` the parser puts the pipe inside the heredoc.
        let pipes = later.iter().any(|node: &Node<'_>| node.kind() == "pipeline");
        let is_or = later.iter().any(|node| node.kind() != "pipeline" && after_or(*node));
        let mut inner = scope.clone();
        inner.piped_on |= pipes;
        inner.stdout_elsewhere |= pipes;
        inner.handled |= is_or;
        let first = self.shell.commands.len();
        match node.child_by_field_name("body") {
            Some(body) if body.kind() == "command" => self.command(body, &inner, extra),
            Some(body) => {
                apply(&extra, &mut inner);
                self.visit(body, &inner);
                if body.kind() == "list"
                    && let Some(last) = self.shell.commands.last_mut()
                {
                    // `a && b > f`: the redirection is the last command's.
                    last.redirects.append(&mut extra.redirects);
                    last.heredocs.append(&mut extra.heredocs);
                } else if let Some(command) = self.shell.commands.get_mut(first) {
                    command.redirects.append(&mut extra.redirects);
                    command.heredocs.append(&mut extra.heredocs);
                }
            }
            None => {
                extra.at = node.start_byte();
                extra.scope = inner;
                self.shell.commands.push(extra);
            }
        }
        for node in later {
            let mut scope = scope.clone();
            if node.kind() == "pipeline" {
                scope.piped_from = Some(first);
                scope.has_input = true;
            } else {
                scope.guarded = true;
            }
            self.visit(node, &scope);
        }
    }

    /// One redirection. What the parser hides in a heredoc's (the rest of the line) is put into `later`.
    fn redirect<'t>(&mut self, node: Node<'t>, scope: &Scope, command: &mut Command, later: &mut Vec<Node<'t>>) {
        if node.kind() == "heredoc_redirect" {
            let mut heredoc = Heredoc { body: node.end_byte()..node.end_byte(), quoted: false, expansions: Vec::new() };
            for (child, field) in children(node) {
                match (child.kind(), field) {
                    ("heredoc_start", _) => heredoc.quoted = self.of(child).contains(['\'', '"', '\\']),
                    ("heredoc_body", _) => {
                        heredoc.body = child.byte_range();
                        heredoc.expansions = self.expansions(child);
                        if !heredoc.quoted {
                            self.sequence(child, scope);
                        }
                    }
                    (_, Some("redirect")) => self.redirect(child, scope, command, later),
                    (_, Some("argument")) => {
                        let word = self.word(child);
                        command.words.push(word);
                        self.visit(child, scope);
                    }
                    (_, Some("right")) | ("pipeline", _) => later.push(child),
                    _ => {
                        if child.is_missing() || child.is_error() {
                            self.shell.errors.push(child.start_byte());
                        }
                    }
                }
            }
            command.heredocs.push(heredoc);
            return;
        }
        let mut redirect = Redirect { descriptor: None, operator: String::new(), target: None };
        for (child, field) in children(node) {
            if child.kind() == "file_descriptor" {
                redirect.descriptor = Some(self.of(child).to_owned());
            } else if child.is_named() || field == Some("destination") {
                let word = self.word(child);
                // `> file word`: more destinations are words of the command.
                match redirect.target {
                    None => redirect.target = Some(word),
                    Some(_) => command.words.push(word),
                }
                self.visit(child, scope);
            } else {
                redirect.operator = self.of(child).to_owned();
            }
        }
        command.redirects.push(redirect);
    }

    /// A simple command; `extra` holds what stands around it in the tree.
    fn command(&mut self, node: Node<'_>, scope: &Scope, extra: Command) {
        let mut command = Command { at: node.start_byte(), scope: scope.clone(), ..Command::default() };
        let index = self.shell.commands.len();
        self.shell.commands.push(Command::default());
        let mut later = Vec::new();
        for (child, _) in children(node) {
            match child.kind() {
                "variable_assignment" => {
                    let assignment = self.assigned(child);
                    command.assignments.push(assignment);
                    self.sequence(child, scope);
                }
                "file_redirect" | "herestring_redirect" | "heredoc_redirect" => {
                    self.redirect(child, scope, &mut command, &mut later);
                }
                _ if child.is_named() && !child.is_error() => {
                    let inner = if child.kind() == "command_name" { child.child(0).unwrap_or(child) } else { child };
                    command.words.push(self.word(inner));
                    self.visit(inner, scope);
                }
                _ => self.visit(child, scope),
            }
        }
        command.words.extend(extra.words);
        command.redirects.extend(extra.redirects);
        command.heredocs.extend(extra.heredocs);
        let own = command.clone();
        apply(&own, &mut command.scope);
        if matches!(command.words.first().map(Word::text), Some("read" | "mapfile" | "readarray" | "getopts")) {
            let names = command.words.iter().skip(1).map(|word| word.text().to_owned());
            self.shell.assigned.extend(names.filter(|name| !name.starts_with('-')));
        }
        self.shell.commands[index] = command;
    }

    /// `X=1`, `export X=1`, `unset X`
    fn assignment(&mut self, node: Node<'_>, scope: &Scope) {
        let mut command = Command { at: node.start_byte(), scope: scope.clone(), ..Command::default() };
        let index = self.shell.commands.len();
        self.shell.commands.push(Command::default());
        if node.kind() == "variable_assignment" {
            let assignment = self.assigned(node);
            self.shell.assigned.push(assignment.0.clone());
            command.assignments.push(assignment);
            self.sequence(node, scope);
        } else {
            for (child, _) in children(node) {
                if child.kind() == "variable_assignment" {
                    let assignment = self.assigned(child);
                    self.shell.assigned.push(assignment.0.clone());
                    command.assignments.push(assignment);
                } else if !child.is_error() {
                    command.words.push(self.word(child));
                }
                self.sequence(child, scope);
            }
        }
        self.shell.commands[index] = command;
    }

    fn assigned(&self, node: Node<'_>) -> (String, Option<Word>) {
        let name = node.child_by_field_name("name").map(|name| self.of(name)).unwrap_or_default();
        let name = name.split('[').next().unwrap_or_default().to_owned();
        (name, node.child_by_field_name("value").map(|value| self.word(value)))
    }

    fn note_use(&mut self, node: Node<'_>, scope: &Scope) {
        let name = children(node)
            .find(|(child, _)| matches!(child.kind(), "variable_name" | "special_variable_name" | "subscript"));
        let Some((name, _)) = name else { return };
        let text = self.of(name).split('[').next().unwrap_or_default().to_owned();
        let operator = node.child_by_field_name("operator").map(|operator| self.of(operator));
        let has_default =
            operator.is_some_and(|operator| matches!(operator, ":-" | "-" | ":=" | "=" | ":+" | "+" | ":?" | "?"));
        if let Some(operator) = operator
            && operator.ends_with('=')
        {
            self.shell.assigned.push(text.clone());
        }
        self.shell.uses.push(Use { name: text, at: node.start_byte(), in_function: scope.in_function, has_default });
    }

    fn word(&self, node: Node<'_>) -> Word {
        let quotes = match node.kind() {
            "raw_string" => Quotes::Single,
            "string" => Quotes::Double,
            _ => Quotes::Other,
        };
        Word {
            range: node.byte_range(),
            raw: self.of(node).to_owned(),
            literal: self.literal(node),
            quotes,
            expansions: self.expansions(node),
        }
    }

    fn literal(&self, node: Node<'_>) -> Option<String> {
        let text = self.of(node);
        match node.kind() {
            "word" if node.child_count() == 0 => Some(unescaped(text)),
            "raw_string" => Some(text.trim_matches('\'').to_owned()),
            "string" => {
                let plain = children(node).all(|(child, _)| matches!(child.kind(), "\"" | "string_content"));
                plain.then(|| unescaped(text.trim_matches('"')))
            }
            "concatenation" => children(node).map(|(child, _)| self.literal(child)).collect(),
            _ if node.child_count() == 0 => Some(text.to_owned()),
            _ => None,
        }
    }

    /// The outermost expansions below a node, in order.
    fn expansions(&self, node: Node<'_>) -> Vec<FilledIn> {
        let mut found = Vec::new();
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            match node.kind() {
                "simple_expansion" | "expansion" => {
                    let name = children(node)
                        .find(|(child, _)| matches!(child.kind(), "variable_name" | "special_variable_name"));
                    let variable = name.map(|(name, _)| self.of(name).to_owned());
                    found.push(FilledIn { range: node.byte_range(), variable: Some(variable.unwrap_or_default()) });
                }
                "command_substitution" | "arithmetic_expansion" => {
                    found.push(FilledIn { range: node.byte_range(), variable: None });
                }
                _ => open.extend(children(node).map(|(child, _)| child)),
            }
        }
        found.sort_by_key(|found| found.range.start);
        found
    }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next().filter(|next| *next != '\n')),
            _ => plain.push(character),
        }
    }
    plain
}

fn before_then(clause: Node<'_>, child: Node<'_>) -> bool {
    children(clause).take_while(|(other, _)| other.kind() != "then").any(|(other, _)| other.id() == child.id())
}

/// What stands right before a node is `||`.
fn after_or(node: Node<'_>) -> bool {
    node.prev_sibling().is_some_and(|before| before.kind() == "||")
}

/// What a command's redirections make of its standard streams.
fn apply(command: &Command, scope: &mut Scope) {
    scope.has_input |= !command.heredocs.is_empty();
    for redirect in &command.redirects {
        let target = redirect.target.as_ref().map(Word::text).unwrap_or_default();
        match (redirect.operator.as_str(), redirect.descriptor.as_deref()) {
            ("<" | "<<<" | "<&", None | Some("0")) => scope.has_input = true,
            ("&>" | "&>>", _) => (scope.stdout_elsewhere, scope.stderr_elsewhere) = (true, true),
            (">&", None) if target != "1" && target != "2" => {
                (scope.stdout_elsewhere, scope.stderr_elsewhere) = (true, true);
            }
            (">&", Some("2")) if target == "1" => scope.stderr_elsewhere = scope.stdout_elsewhere,
            (">&", None | Some("1")) if target == "2" => scope.stdout_elsewhere = scope.stderr_elsewhere,
            (">" | ">>" | ">|" | ">&" | "<>", None | Some("1")) => scope.stdout_elsewhere = true,
            (">" | ">>" | ">|" | ">&" | "<>", Some("2")) => scope.stderr_elsewhere = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_behind_pipelines_are_not_lost() {
        for text in [
            "(a; b) | sort -u | crontab -\nnohup x > y 2>&1 &\n",
            "a | b | c # why\n\n  # more\n  foo x > y\n",
            "a | b | c \\\n  d\nfoo x > y\n",
        ] {
            let shell = read(Mapped::whole(text.to_owned()));
            let last = shell.commands.last().unwrap();
            assert!(matches!(last.words[0].text(), "nohup" | "foo"), "{text}: {:?}", last.words);
            assert_eq!(last.words.len(), 2, "{text}");
            assert!(last.scope.piped_from.is_none());
        }
    }

    #[test]
    fn redirections_of_groups_and_loops_are_known() {
        for text in [
            "while read x; do :; done <<< \"$y\"",
            "{ read x; } < f",
            "while read x; do :; done <<E\na\nE\n",
            "a | { read x; }",
        ] {
            let shell = read(Mapped::whole(text.to_owned()));
            let read = shell.commands.iter().find(|command| command.words[0].text() == "read").unwrap();
            assert!(read.scope.has_input, "{text}");
        }
    }
}
