//! `conda-before-profile`: `conda` is a function that a profile defines; in a block of another user's it is not
//! even on the `PATH`, because `.bashrc` ends early in shells that nobody types into.

use super::{Notes, View};
use crate::check::script::launch::Launch;
use crate::check::script::model::{Command, Shell, Word};

/// Tells the first `conda` that is not there yet.
pub fn before_profile(view: &View<'_>, notes: &mut Notes<'_>) {
    let inherits =
        view.block().is_some_and(|(block, parent)| block.interactive || !has_own_path(view) && any_ready(parent));
    if inherits || view.shell.functions.iter().any(|name| name == "conda") {
        return;
    }
    let (mut on_path, mut hooked) = (!view.shell.is_other_users(), false);
    for command in &view.shell.commands {
        if !on_path && !hooked && !command.scope.handled && is_bare_activate(command) {
            let message =
                "`activate` is not found here: the block reads no `.bashrc`, which is what puts it on the path";
            let hint = "write `source /anaconda/bin/activate ENVIRONMENT`";
            return notes.warn("conda-before-profile", view.shell.text.place(command.at), message, hint);
        }
        match makes_ready(command) {
            Some(Ready::Hooked) => hooked = true,
            Some(Ready::OnPath) => on_path = true,
            None => {}
        }
        let launch = Launch::of(command);
        let (Some("conda"), Some(first)) = (launch.words.first().map(Word::text), launch.arguments().first()) else {
            continue;
        };
        let activates = matches!(first.text(), "activate" | "deactivate");
        if hooked || on_path && !activates {
            continue;
        }
        // `conda activate x || source activate x`: the author knows.
        if command.scope.handled && !command.scope.substituted {
            continue;
        }
        let message = match activates && on_path {
            true => format!(
                "`conda {}` fails here: it needs conda's shell function, which only a profile defines",
                first.text()
            ),
            false => {
                "`conda` is not found here: the block reads no `.bashrc`, which is what puts it on the path".into()
            }
        };
        let hint = "write `source /anaconda/etc/profile.d/conda.sh` before it";
        return notes.warn("conda-before-profile", view.shell.text.place(command.at), message, hint);
    }
}

/// `source activate x`
fn is_bare_activate(command: &Command) -> bool {
    let mut words = command.words.iter().map(Word::text);
    matches!(words.next(), Some("source" | ".")) && words.next() == Some("activate")
}

enum Ready {
    OnPath,
    Hooked,
}

fn makes_ready(command: &Command) -> Option<Ready> {
    let words: Vec<String> = command.words.iter().map(Word::unquoted).collect();
    let has = |part: &str| words.iter().any(|word| word.contains(part));
    let exports_path = command.assignments.iter().any(|(name, _)| name == "PATH");
    match words.first().map(String::as_str) {
        // A file that is not known may do it as well.
        Some("source" | ".") => Some(Ready::Hooked),
        Some("eval") if has("conda") || has("mamba") => Some(Ready::Hooked),
        _ if exports_path => Some(Ready::OnPath),
        _ => None,
    }
}

fn any_ready(shell: &Shell) -> bool {
    shell.commands.iter().any(|command| makes_ready(command).is_some())
}

/// The block does not inherit its caller's `PATH`.
fn has_own_path(view: &View<'_>) -> bool {
    view.shell.block.as_ref().is_some_and(|block| block.environment.is_some())
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{found, rules_in};

    #[test]
    fn conda_in_a_block_that_has_read_no_profile_is_not_found() {
        let found = found("sudo -u azureuser -i <<'EOF'\nset -e\nENV=x\nconda activate $ENV\npip install numpy\nEOF\n");
        assert_eq!((found[0].rule.as_ref(), found[0].line), ("conda-before-profile", 4));
        assert_eq!(found.len(), 1);
        assert_eq!(rules_in("sudo -u azureuser bash -lc 'conda install -y numpy'\n"), ["conda-before-profile"]);
        assert_eq!(rules_in("conda activate x\n"), ["conda-before-profile"]);
        assert_eq!(rules_in("sudo -u azureuser -i <<'EOF'\nsource activate x\nEOF\n"), ["conda-before-profile"]);
    }

    #[test]
    fn conda_that_is_there_is_fine() {
        for text in [
            "sudo -u azureuser -i <<'EOF'\nsource /anaconda/etc/profile.d/conda.sh\nconda activate x\nEOF\n",
            "sudo -u azureuser -i <<'EOF'\neval \"$(/anaconda/bin/conda shell.bash hook)\"\nconda activate x\nEOF\n",
            "sudo -u azureuser -i <<'EOF'\nexport PATH=/anaconda/bin:$PATH\nconda install -y x\nEOF\n",
            "sudo -u azureuser -i <<'EOF'\n/anaconda/bin/conda install -y x\nEOF\n",
            "sudo -u azureuser bash -ic 'conda activate x'\n",
            "conda env create -f env.yml\n. /anaconda/etc/profile.d/conda.sh\nconda activate x\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
