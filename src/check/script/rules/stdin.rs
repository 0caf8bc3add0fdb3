//! Commands that read what is not there (`read-without-input`), or what was meant for the shell
//! (`eats-heredoc`).

use super::{Notes, View};
use crate::check::script::launch::Launch;
use crate::check::script::model::{Command, Means, Shell};

/// `read-without-input`: a setup script's standard input is empty.
pub fn read_without_input(view: &View<'_>, notes: &mut Notes<'_>) {
    if is_heredoc(view.shell) || opens_input(view.shell) {
        return;
    }
    for command in own_input(view.shell) {
        let launch = Launch::of(command);
        let name = launch.name();
        let reads = match name {
            "read" => !launch.has_letter("u"),
            "passwd" => !launch.has(&["-d", "-l", "-u", "-e", "--stdin", "-S"]),
            "nano" | "vi" | "vim" | "emacs" => true,
            "cat" => launch.operands().next().is_none() && !launch.has(&["--version", "--help"]),
            _ => false,
        };
        if reads {
            let message = format!("`{name}` reads standard input, which is empty in a setup script");
            let hint = "take the value from an argument (`$1`) or a file";
            notes.warn("read-without-input", view.shell.text.place(command.at), message, hint);
        }
    }
}

/// `eats-heredoc`: in `bash <<EOF` standard input is the rest of the block.
pub fn heredoc_eaten(view: &View<'_>, notes: &mut Notes<'_>) {
    if !is_heredoc(view.shell) || opens_input(view.shell) {
        return;
    }
    for command in own_input(view.shell) {
        let launch = Launch::of(command);
        let name = launch.name();
        let (reads, hint) = match name {
            "read" | "mapfile" | "readarray" => (!launch.has_letter("u"), "give it an input of its own: `< FILE`"),
            "cat" | "xargs" => {
                let named = launch.operands().next().is_some() && (name == "cat" || launch.has_letter("a"));
                (
                    !named && name == "cat" || name == "xargs" && !launch.has_letter("a"),
                    "give it an input of its own: `< FILE`",
                )
            }
            "ssh" => (!launch.has_letter("nfV"), "add `-n`"),
            "ffmpeg" => (!launch.has(&["-nostdin"]), "add `-nostdin`"),
            "docker" | "podman" => {
                let enters = launch.has(&["run", "exec"]);
                (enters && launch.has(&["-i", "-it", "-ti", "--interactive"]), "leave `-i` away, or add `< /dev/null`")
            }
            "python" | "python3" | "R" | "mysql" | "psql" => {
                (launch.arguments().is_empty() || launch.has(&["-"]), "give it an input of its own: `< /dev/null`")
            }
            _ => (false, ""),
        };
        if reads {
            let message =
                format!("`{name}` reads standard input, which is the rest of this block: what follows does not run");
            notes.warn("eats-heredoc", view.shell.text.place(command.at), message, hint);
        }
    }
}

/// Commands that read what their shell reads. A function's input is its caller's.
fn own_input(shell: &Shell) -> impl Iterator<Item = &Command> {
    shell
        .commands
        .iter()
        .filter(|command| !command.scope.has_input && !command.scope.in_function && command.scope.background.is_none())
}

fn is_heredoc(shell: &Shell) -> bool {
    shell.block.as_ref().is_some_and(|block| block.means == Means::Heredoc)
}

/// `exec < file`
fn opens_input(shell: &Shell) -> bool {
    shell.commands.iter().any(|command| {
        command.words.len() == 1
            && command.words[0].text() == "exec"
            && command.redirects.iter().any(|redirect| redirect.operator.starts_with('<'))
    })
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{found, rules_in};

    #[test]
    fn reading_an_empty_input_is_told() {
        assert_eq!(rules_in("read -p 'name? ' name\n"), ["read-without-input"]);
        assert_eq!(rules_in("while read x; do echo $x; done\n"), ["read-without-input"]);
        assert_eq!(rules_in("sudo -u azureuser bash -c 'read x'\n"), ["read-without-input"]);
    }

    #[test]
    fn reading_from_somewhere_is_fine() {
        for text in [
            "while read -r x; do echo $x; done < /etc/hosts\n",
            "ls | while read x; do echo $x; done\n",
            "read -r x <<< \"$y\"\n",
            "read -r x < <(date)\n",
            "read -u 3 x\n",
            "exec < /etc/hosts\nread x\n",
            "cat > /tmp/x <<'EOF'\nread x\nEOF\n",
            "f() { read x; }\nf < /etc/hosts\n",
            "if ls | grep -q x; then cat /etc/hosts; fi\n",
            "curl https://a/b | bash\n",
            "while IFS= read -r l; do\n  echo $l\ndone <<EOF\na\nEOF\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn what_eats_the_rest_of_a_block_is_told() {
        for inside in ["read x", "ssh host true", "docker exec -it c true", "cat", "ffmpeg -i a b"] {
            let text = format!("sudo -u azureuser bash <<'EOF'\nset -e\n{inside}\necho after\nEOF\n");
            assert_eq!(rules_in(&text), ["eats-heredoc"], "{text}");
        }
    }

    #[test]
    fn what_leaves_the_block_alone_is_fine() {
        for inside in [
            "read x < /etc/hosts",
            "ssh -n host true",
            "docker exec c true",
            "cat /etc/hosts",
            "ssh host true < /dev/null",
            "cat > /tmp/f <<X\na\nX",
            "echo a | xargs echo",
        ] {
            let text = format!("sudo -u azureuser bash <<'EOF'\nset -e\n{inside}\necho after\nEOF\n");
            assert!(rules_in(&text).is_empty(), "{text}: {:?}", found(&text));
        }
    }
}
