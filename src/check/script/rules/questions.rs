//! `asks-a-question`: nobody is there to answer. In a block that is a heredoc the answer is worse: it is the rest
//! of the block.

use super::{Notes, View};
use crate::check::script::launch::Launch;
use crate::check::script::model::{Means, Word};

/// Tells every command that will ask.
pub fn asked(view: &View<'_>, notes: &mut Notes<'_>) {
    for command in view.shell.commands.iter().filter(|command| !command.scope.has_input) {
        let launch = Launch::of(command);
        // Options may be in a variable.
        let is_known = launch.arguments().iter().all(|word| word.literal.is_some() || !is_whole_expansion(word));
        let Some((called, hint)) = question(&launch, notes).filter(|_| is_known) else { continue };
        let eats = view.shell.block.as_ref().is_some_and(|block| block.means == Means::Heredoc);
        let consequence = match eats {
            true => "and the rest of the block is read as the answer",
            false => "and nobody is there to answer",
        };
        let message = format!("`{called}` asks a question here, {consequence}");
        notes.warn("asks-a-question", view.shell.text.place(command.at), message, hint);
    }
}

fn is_whole_expansion(word: &Word) -> bool {
    word.raw.trim_matches('"').starts_with('$')
}

/// What asks, and how not to be asked.
fn question(launch: &Launch<'_>, notes: &Notes<'_>) -> Option<(String, &'static str)> {
    let name = launch.name();
    let first = launch.operands().next().map(Word::text).unwrap_or_default();
    let says_yes = || launch.has(&["-y", "--yes", "--assume-yes"]) || launch.has_letter("y");
    let only_shows = || launch.has(&["--dry-run", "-s", "--simulate", "--just-print", "--help", "-h", "--print-uris"]);
    match name {
        "apt-get" | "apt" | "aptitude" => {
            let verbs =
                ["install", "upgrade", "dist-upgrade", "full-upgrade", "remove", "purge", "autoremove", "build-dep"];
            let verb = launch.operands().map(Word::text).find(|word| verbs.contains(word))?;
            let quiet =
                launch.has(&["-qq", "--force-yes"]) || launch.arguments().iter().any(|word| word.raw.contains("-qq"));
            (!says_yes() && !only_shows() && !quiet && !notes.says("Assume-Yes"))
                .then(|| (format!("{name} {verb}"), "add `-y`"))
        }
        "add-apt-repository" => {
            (!says_yes() && !only_shows() && !launch.arguments().is_empty()).then(|| (name.into(), "add `-y`"))
        }
        "conda" | "mamba" | "micromamba" => {
            let verbs = ["install", "create", "update", "upgrade", "remove", "uninstall", "clean"];
            let removes_environment = first == "env" && launch.has(&["remove"]);
            let settles = notes.says("CONDA_ALWAYS_YES") || notes.says("always_yes");
            ((verbs.contains(&first) || removes_environment)
                && !says_yes()
                && !only_shows()
                && !launch.has(&["--json"])
                && !settles)
                .then(|| (format!("{name} {first}"), "add `-y`"))
        }
        "pip" | "pip3" => (first == "uninstall" && !says_yes()).then(|| (format!("{name} uninstall"), "add `-y`")),
        "python" | "python3" => {
            let pip = launch.has(&["pip"]) && launch.has(&["uninstall"]) && !says_yes();
            pip.then(|| (format!("{name} -m pip uninstall"), "add `-y`"))
        }
        "ssh-keygen" => {
            let makes_key = !launch.has_letter("RFlLyYeiHpcAs");
            (makes_key && !(launch.has_letter("N") && launch.has_letter("f")))
                .then(|| (name.into(), "add `-N ''` and `-f FILE`"))
        }
        "npm" => (first == "init" && !says_yes()).then(|| ("npm init".into(), "add `-y`")),
        "az" => {
            let named = launch.has(&["--identity", "-i", "--service-principal", "--federated-token", "--help", "-h"]);
            (first == "login" && !named)
                .then(|| ("az login".into(), "add `--identity`: the instance has one of its own"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{found, rules_in};

    #[test]
    fn what_asks_is_told() {
        for command in [
            "apt-get install curl",
            "sudo -u root apt install curl",
            "DEBIAN_FRONTEND=noninteractive apt-get -q upgrade",
            "conda create -n x python=3.10",
            "conda env remove -n x",
            "pip uninstall numpy",
            "python -m pip uninstall numpy",
            "ssh-keygen -t rsa",
            "add-apt-repository ppa:a/b",
            "az login",
            "timeout 5m apt-get install curl",
        ] {
            let rules = rules_in(&format!("{command}\n"));
            assert!(rules.contains(&"asks-a-question".to_owned()), "{command}: {rules:?}");
        }
        let found = found(
            "sudo -u azureuser -i <<'EOF'\nset -e\nsource /anaconda/etc/profile.d/conda.sh\nconda install numpy\nEOF\n",
        );
        assert!(found[0].message.contains("rest of the block"), "{found:?}");
    }

    #[test]
    fn what_does_not_ask_is_not() {
        for command in [
            "apt-get install -y curl",
            "apt-get -yq install curl",
            "apt-get install -qq curl",
            "yes | apt-get install curl",
            "apt-get update",
            "apt-get clean",
            "apt-get install $OPTIONS curl",
            "conda install --yes numpy",
            "conda env create -f /x.yml",
            "conda env update -f /x.yml",
            "conda config --set channel_priority strict",
            "pip install numpy",
            "ssh-keygen -q -t rsa -N '' -f /root/.ssh/id_rsa",
            "ssh-keygen -R host",
            "az login --identity",
            "conda list",
            "apt-get install \\\n  --no-install-recommends -y curl",
            "echo y | conda remove x",
            "apt-cache search install",
            "apt list --installed",
        ] {
            let text = format!("{command}\n");
            assert!(rules_in(&text).is_empty(), "{command}: {:?}", found(&text));
        }
    }
}
