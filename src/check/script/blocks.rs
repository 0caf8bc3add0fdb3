//! The blocks of a shell: texts that its commands hand to another shell, read in their turn.

use super::launch::{Launch, User};
use super::mapped::Mapped;
use super::model::{Block, FilledIn, Heredoc, Means, Quotes, Shell};
use super::walk;

/// Blocks inside blocks are followed this far.
const DEEPEST: usize = 8;

/// Reads a script and all blocks in it.
pub fn read(text: String) -> Shell {
    let mut shell = walk::read(Mapped::whole(text));
    add_blocks(&mut shell, 0);
    shell
}

fn add_blocks(shell: &mut Shell, depth: usize) {
    if depth == DEEPEST {
        return;
    }
    let found: Vec<_> = (0..shell.commands.len()).filter_map(|index| block(shell, index)).collect();
    for (block, text) in found {
        let mut inner = walk::read(text);
        inner.block = Some(block);
        add_blocks(&mut inner, depth + 1);
        shell.blocks.push(inner);
    }
}

fn block(shell: &Shell, index: usize) -> Option<(Block, Mapped)> {
    let command = &shell.commands[index];
    let launch = Launch::of(command);
    let call = launch.shell.as_ref()?;
    let mut block = Block {
        command: index,
        user: match &launch.user {
            User::Same | User::Root => None,
            User::Other(name) => Some(name.clone()),
        },
        login: launch.login,
        quoted: true,
        means: Means::Heredoc,
        has_arguments: call.has_arguments,
        errexit: call.errexit,
        environment: if launch.sudo || launch.login { launch.kept.clone() } else { None },
        interactive: call.interactive,
        filled_in: Vec::new(),
    };
    if let Some(word) = call.text {
        block.means = Means::Argument;
        let (from, to) = (word.range.start + 1, word.range.end.saturating_sub(1).max(word.range.start + 1));
        return match word.quotes {
            Quotes::Single => Some((block, shell.text.part(from, to))),
            Quotes::Double => {
                let text = filled(shell, &mut block, from, to, b"$`\"\\", &word.expansions);
                Some((block, text))
            }
            Quotes::Other => None,
        };
    }
    let heredoc = command.heredocs.last().or_else(|| handed_on(shell, index))?;
    let (from, to) = (heredoc.body.start, heredoc.body.end);
    if heredoc.quoted {
        return Some((block, shell.text.part(from, to)));
    }
    let text = filled(shell, &mut block, from, to, b"$`\\", &heredoc.expansions);
    Some((block, text))
}

fn filled(shell: &Shell, block: &mut Block, from: usize, to: usize, escapable: &[u8], found: &[FilledIn]) -> Mapped {
    block.quoted = false;
    block.filled_in = found.to_vec();
    let ranges: Vec<_> = found.iter().map(|found| (found.range.start, found.range.end)).collect();
    shell.text.expanded_part(from, to, escapable, &ranges)
}

/// `cat <<'EOF' | sudo -u azureuser bash`
fn handed_on(shell: &Shell, index: usize) -> Option<&Heredoc> {
    let before = shell.commands.get(shell.commands[index].scope.piped_from?)?;
    (before.words.first()?.text() == "cat" && before.words.len() == 1).then(|| before.heredocs.last()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str) -> Vec<(String, Block)> {
        let shell = read(text.to_owned());
        shell.blocks.iter().map(|shell| (shell.text.text.clone(), shell.block.clone().unwrap())).collect()
    }

    #[test]
    fn all_ways_to_hand_text_to_a_shell_are_blocks() {
        let found = blocks(
            r#"
sudo -u azureuser -i <<'EOF'
one
EOF
sudo -iu azureuser bash -e -s -- "$1" <<'EOF' > /tmp/log || exit 1
two
EOF
cat <<'EOF' | sudo --user=azureuser bash
three
EOF
sudo -H -u azureuser env A=1 bash -lc 'four'
su - azureuser -c "five \$x $y"
runuser -u azureuser -- bash <<EOF
six
EOF
bash other.sh <<'EOF'
data
EOF
"#,
        );
        let texts: Vec<_> = found.iter().map(|(text, _)| text.trim_end()).collect();
        assert_eq!(texts, ["one", "two", "three", "four", "five $x \u{e000}", "six"]);
        let logins: Vec<_> = found.iter().map(|(_, block)| block.login).collect();
        assert_eq!(logins, [true, true, false, false, true, false]);
        assert!(found.iter().all(|(_, block)| block.user.as_deref() == Some("azureuser")));
        assert!(found[1].1.has_arguments && found[1].1.errexit);
        assert!(!found[4].1.quoted && !found[5].1.quoted && found[0].1.quoted);
    }

    #[test]
    fn a_block_in_a_block_is_found_with_its_place() {
        let text = "bash <<'A'\nsudo -u x bash <<'B'\nread y\nB\nA\n";
        let shell = read(text.to_owned());
        let inner = &shell.blocks[0].blocks[0];
        assert_eq!(inner.text.text, "read y\n");
        assert_eq!(inner.text.place(0), text.find("read").unwrap());
    }
}
