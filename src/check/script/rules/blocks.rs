//! What goes wrong between a script and the blocks it hands to other shells.

use super::{Notes, View};
use crate::check::script::launch::Launch;
use crate::check::script::model::{Command, Means, Shell, Word};

/// Set in every shell by the system, the user's login or the agent.
const ALWAYS_SET: [&str; 12] =
    ["HOME", "PATH", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "LANG", "TERM", "IFS", "HOSTNAME", "UID"];

/// `block-arguments`: `$1` in a quoted block is the block's, and it has none.
pub fn arguments(view: &View<'_>, notes: &mut Notes<'_>) {
    let Some((block, _)) = view.block() else { return };
    let sets_its_own = view.shell.commands.iter().any(|command| {
        command.words.first().is_some_and(|word| word.text() == "set")
            && command.words.iter().any(|word| word.text() == "--")
    });
    if !block.quoted || block.has_arguments || sets_its_own {
        return;
    }
    let is_argument =
        |name: &str| matches!(name, "@" | "*" | "#") || name.parse::<u32>().is_ok_and(|number| number > 0);
    if let Some(first) = view.shell.uses.iter().find(|used| !used.in_function && is_argument(&used.name)) {
        notes.warn(
            "block-arguments",
            view.shell.text.place(first.at),
            format!("`${}` is empty here: the script's arguments do not reach a quoted block", first.name),
            "hand them on: `sudo -u azureuser -i bash -s -- \"$@\" <<'EOF'`, or put them into a file that the block reads",
        );
    }
}

/// `block-variable`: a variable of the script is used in a quoted block, which does not have it.
pub fn variables(view: &View<'_>, notes: &mut Notes<'_>) {
    let Some((block, parent)) = view.block() else { return };
    if !block.quoted || view.shell.commands.iter().any(may_define_anything) {
        return;
    }
    let command = &parent.commands[block.command];
    let mut told = Vec::new();
    for used in view.shell.uses.iter().filter(|used| !used.has_default) {
        let name = used.name.as_str();
        let is_outer = parent.assigned.iter().any(|assigned| assigned == name);
        let is_own = view.shell.assigned.iter().any(|assigned| assigned == name);
        let is_known = name.starts_with("CI_") || ALWAYS_SET.contains(&name);
        let is_handed_on = match &block.environment {
            Some(names) => names.iter().any(|kept| kept == name),
            None => command.assignments.iter().any(|(assigned, _)| assigned == name) || is_exported(parent, name),
        };
        if !is_outer || is_own || is_known || is_handed_on || told.contains(&name) {
            continue;
        }
        told.push(name);
        let hint = match block.environment {
            Some(_) => {
                format!("hand it on: `sudo -u azureuser {name}=\"${name}\" bash <<'EOF'`, or set it inside the block")
            }
            None => format!("`export {name}` before the block, or set it inside"),
        };
        let message = format!("`${name}` is empty here: it is set outside this quoted block, which does not get it");
        notes.warn("block-variable", view.shell.text.place(used.at), message, hint);
    }
}

/// `block-expands`: an unquoted block in which the outer shell, root's, expands what the block's own should.
pub fn expansions(view: &View<'_>, notes: &mut Notes<'_>) {
    let Some((block, parent)) = view.block() else { return };
    for filled_in in &block.filled_in {
        let name = filled_in.variable.as_deref();
        let what = match name {
            Some(name) if view.shell.assigned.iter().any(|own| own == name) && !sets(parent, name) => {
                format!("`${name}` is expanded before the block runs, when it is not set yet")
            }
            Some(name @ ("HOME" | "USER" | "LOGNAME")) if block.user.is_some() && view.is_other_than(parent) => {
                format!("`${name}` is expanded by root's shell before the block runs, so it is root's")
            }
            Some("?" | "!") => {
                "this is expanded before the block runs: it tells nothing of a command in the block".into()
            }
            None if block.user.is_some() && asks_about_itself(&parent.text.text[filled_in.range.clone()]) => {
                "this command runs outside, before the block and as its caller".into()
            }
            Some(_) | None => continue,
        };
        let hint = match block.means {
            Means::Heredoc => "quote the heredoc's word (`<<'EOF'`), or write `\\$` where the block should expand",
            Means::Argument => "put the text into single quotes, or write `\\$` where the block should expand",
        };
        return notes.warn("block-expands", parent.text.place(filled_in.range.start), what, hint);
    }
}

/// `block-without-set-e`: a command whose failure matters fails, the block goes on, and the script succeeds.
pub fn lost_failures(view: &View<'_>, notes: &mut Notes<'_>) {
    let Some((block, _)) = view.block() else { return };
    let commands = &view.shell.commands;
    let traps = |command: &Command| {
        command.words.first().is_some_and(|word| word.text() == "trap")
            && command.words.iter().any(|word| word.text() == "ERR")
    };
    if block.errexit || commands.iter().any(|command| sets_errexit(command) || traps(command)) {
        return;
    }
    let lost = commands.iter().enumerate().find(|(index, command)| {
        let is_followed = commands[index + 1..].iter().any(|later| {
            !later.scope.substituted && (later.scope.chain.is_none() || later.scope.chain != command.scope.chain)
        });
        is_followed && !command.scope.handled && matters(command)
    });
    if let Some((_, command)) = lost {
        let name = Launch::of(command).name().to_owned();
        notes.warn(
            "block-without-set-e",
            view.shell.text.place(command.at),
            format!("if `{name}` fails here, the block goes on and the script may still succeed"),
            match block.means {
                Means::Heredoc => "begin the block with `set -e`: the one outside does not reach it",
                Means::Argument => "begin the text with `set -e;`: the one outside does not reach it",
            },
        );
    }
}

/// Installing, fetching, building.
fn matters(command: &Command) -> bool {
    const NAMES: [&str; 24] = [
        "conda",
        "mamba",
        "micromamba",
        "pip",
        "pip3",
        "apt-get",
        "apt",
        "git",
        "wget",
        "curl",
        "npm",
        "make",
        "cmake",
        "Rscript",
        "jupyter",
        "python",
        "python3",
        "az",
        "docker",
        "dpkg",
        "tar",
        "unzip",
        "poetry",
        "uv",
    ];
    let launch = Launch::of(command);
    // Leaving an environment is nothing that a script depends on.
    NAMES.contains(&launch.name()) && !launch.has(&["deactivate"])
}

/// `set -e`, `set -euo pipefail`, `set -o errexit`
fn sets_errexit(command: &Command) -> bool {
    let is_set = command.words.first().is_some_and(|word| word.text() == "set");
    is_set
        && command
            .words
            .iter()
            .skip(1)
            .map(Word::text)
            .any(|word| word == "errexit" || word.starts_with('-') && !word.starts_with("--") && word.contains('e'))
}

/// `source` of a file that is not known, `eval`.
fn may_define_anything(command: &Command) -> bool {
    match command.words.first().map(Word::text) {
        Some("source" | ".") => {
            let file = command.words.get(1).map(Word::unquoted).unwrap_or_default();
            !["conda", "activate", ".bashrc", "profile", "nvm"].iter().any(|known| file.contains(known))
        }
        Some("eval") => !command.words.iter().any(|word| word.raw.contains("conda")),
        Some(_) | None => false,
    }
}

fn is_exported(shell: &Shell, name: &str) -> bool {
    shell.commands.iter().any(|command| match command.words.first().map(Word::text) {
        Some("export" | "declare" | "typeset") => {
            command.assignments.iter().any(|(assigned, _)| assigned == name)
                || command.words.iter().any(|word| word.text() == name)
        }
        Some("set") => command.words.iter().any(|word| matches!(word.text(), "-a" | "allexport")),
        Some(_) | None => false,
    })
}

fn sets(shell: &Shell, name: &str) -> bool {
    shell.assigned.iter().any(|assigned| assigned == name)
}

/// A command whose answer depends on who asks.
fn asks_about_itself(substitution: &str) -> bool {
    let words = substitution.trim_start_matches(['$', '(', '`', ' ']);
    let name = words.split([' ', ')', '`']).next().unwrap_or_default();
    matches!(name, "whoami" | "id" | "pwd" | "conda" | "which")
}

impl View<'_> {
    /// The block's user is not the one of the shell that starts it.
    fn is_other_than(&self, parent: &Shell) -> bool {
        let user = |shell: &Shell| shell.block.as_ref().and_then(|block| block.user.clone());
        user(self.shell) != user(parent)
    }
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{found, rules_in};

    #[test]
    fn arguments_in_a_quoted_block_are_empty() {
        let found = found("#!/bin/bash\nsudo -u azureuser -i <<'EOF'\nset -e\npip install \"$1\"\nEOF\n");
        assert_eq!((found[0].rule.as_ref(), found[0].line, found[0].column), ("block-arguments", 4, 14));
    }

    #[test]
    fn arguments_that_a_block_has_are_not() {
        for text in [
            "sudo -u azureuser bash -s -- \"$@\" <<'EOF'\nset -e\necho \"$1\"\nEOF\n",
            "sudo -u azureuser bash <<EOF\necho \"$1\"\nEOF\n",
            "sudo -u azureuser bash <<'EOF'\nf() { echo \"$1\"; }\nf x\nEOF\n",
            "sudo -u azureuser bash -c 'echo \"$1\"' _ \"$1\"\n",
            "sudo -u azureuser bash <<'EOF'\nawk '{print $1}' /etc/passwd\nEOF\n",
            "sudo -u azureuser bash <<'EOF'\nset -- a b\necho $1\nEOF\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn variables_of_the_script_are_empty_in_a_quoted_block() {
        assert_eq!(rules_in("ENV=x\nsudo -u azureuser -i <<'EOF'\necho $ENV ${ENV}\nEOF\n"), ["block-variable"]);
        assert_eq!(rules_in("export ENV=x\nsudo -u azureuser bash -c 'echo $ENV'\n"), ["block-variable"]);
        assert_eq!(rules_in("ENV=x\nbash <<'EOF'\necho $ENV\nEOF\n"), ["block-variable"]);
    }

    #[test]
    fn variables_that_a_block_has_are_not() {
        for text in [
            "sudo -u azureuser -i <<'EOF'\nENV=x\necho $ENV $HOME $CI_NAME\nEOF\n",
            "ENV=x\nsudo -u azureuser ENV=\"$ENV\" bash <<'EOF'\necho $ENV\nEOF\n",
            "export ENV=x\nsudo -E -u azureuser bash <<'EOF'\necho $ENV\nEOF\n",
            "export ENV=x\nbash <<'EOF'\necho $ENV\nEOF\n",
            "ENV=x bash -c 'echo $ENV'\n",
            "ENV=x\nsudo -u azureuser --preserve-env=ENV bash <<'EOF'\necho $ENV\nEOF\n",
            "ENV=x\nsudo -u azureuser -i <<'EOF'\necho ${ENV:-none}\nEOF\n",
            "for f in a b; do echo $f; done\nsudo -u azureuser -i <<'EOF'\nfor f in c d; do echo $f; done\nEOF\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn what_the_outer_shell_expands_too_early_is_told_where_it_stands() {
        let found = found("sudo -u azureuser bash <<EOF\nX=1\necho $X\nEOF\n");
        assert_eq!((found[0].rule.as_ref(), found[0].line, found[0].column), ("block-expands", 3, 6));
        for inside in
            ["cd $HOME", "echo $USER", "X=$(whoami); echo", "source $(conda info --base)/etc/profile.d/conda.sh"]
        {
            let text = format!("sudo -u azureuser -i bash <<EOF\n{inside}\nEOF\n");
            assert_eq!(rules_in(&text), ["block-expands"], "{text}");
        }
    }

    #[test]
    fn what_the_outer_shell_expands_on_purpose_is_fine() {
        for inside in
            ["echo $1 $NAME", "X=1; echo \\$X", "echo $(date)", "cd \\$HOME", "for x in $LIST; do echo \\$x; done"]
        {
            let text = format!("NAME=a\nLIST=b\nsudo -u azureuser -i bash <<EOF\n{inside}\nEOF\n");
            assert!(rules_in(&text).is_empty(), "{text}: {:?}", found(&text));
        }
        assert!(rules_in("cat > /tmp/x <<EOF\nX=1\necho $X $HOME\nEOF\n").is_empty());
    }

    #[test]
    fn a_block_without_set_e_loses_failures() {
        let found = found("#!/bin/bash\nset -e\nsudo -u azureuser -i <<'EOF'\npip install numpy\necho done\nEOF\n");
        assert_eq!((found[0].rule.as_ref(), found[0].line), ("block-without-set-e", 4));
        assert_eq!(rules_in("sudo -u azureuser bash -c 'git clone https://a/b; cd b'\n"), ["block-without-set-e"]);
    }

    #[test]
    fn a_block_whose_failures_count_is_fine() {
        for inside in [
            "set -e\npip install numpy\necho done",
            "set -euo pipefail\ngit clone https://a/b\ncd b",
            "echo begin\npip install numpy",
            "pip install numpy || exit 1\necho done",
            "cd /tmp && git pull && make && echo done",
            "if ! git pull; then exit 1; fi\necho done",
            "mkdir -p x\ncd x",
        ] {
            let text = format!("sudo -u azureuser bash <<'EOF'\n{inside}\nEOF\n");
            assert!(rules_in(&text).is_empty(), "{text}: {:?}", found(&text));
        }
        assert!(rules_in("sudo -u azureuser bash -e <<'EOF'\npip install x\necho\nEOF\n").is_empty());
    }
}
