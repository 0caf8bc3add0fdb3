//! What a script that runs as root need not do (`needless-sudo`), and what it must not (`reboot`).

use super::{Notes, View};
use crate::check::script::launch::{Launch, User};

/// `needless-sudo`: told once for a script, at its first.
pub fn needless_sudo(view: &View<'_>, notes: &mut Notes<'_>) {
    if !view.is_root {
        return;
    }
    let mut found = view.shell.commands.iter().filter(|command| {
        let launch = Launch::of(command);
        // A condition that looks whether sudo is there is none of this.
        launch.sudo && launch.user == User::Root && !launch.login && !launch.words.is_empty()
    });
    let Some(first) = found.next() else { return };
    let more = match found.count() {
        0 => String::new(),
        1 => ", and once more below".into(),
        count => format!(", and {count} times more below"),
    };
    notes.warn(
        "needless-sudo",
        view.shell.text.place(first.at),
        format!("the script runs as root: `sudo` only takes variables away here{more}"),
        "leave `sudo` out; `sudo -u azureuser` is for what belongs to the user",
    );
}

/// `reboot`: the run ends as interrupted, and a creation script does not run again.
pub fn reboot(view: &View<'_>, notes: &mut Notes<'_>) {
    for command in &view.shell.commands {
        let launch = Launch::of(command);
        let name = launch.name();
        let first = launch.operands().next().map(|word| word.text().to_owned()).unwrap_or_default();
        let verbs = ["reboot", "poweroff", "halt", "kexec", "soft-reboot"];
        let goes_down = match name {
            "reboot" | "poweroff" | "halt" => !launch.has(&["--help", "-w", "--wtmp-only"]),
            "shutdown" => !launch.has(&["-c", "-k", "--help"]),
            "init" | "telinit" => matches!(first.as_str(), "0" | "6"),
            "systemctl" => verbs.contains(&first.as_str()),
            _ => false,
        };
        if goes_down {
            notes.warn(
                "reboot",
                view.shell.text.place(command.at),
                format!("`{name}` takes the machine down in the middle of the setup: what follows does not run"),
                "do without: load modules and restart services by hand, or leave the restart to the instance's owner",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{found, rules_in};

    #[test]
    fn sudo_for_root_is_told_once() {
        let found = found("#!/bin/bash\nsudo apt-get update\necho x | sudo tee /etc/x\nsudo -H pip install x\n");
        assert_eq!((found[0].rule.as_ref(), found[0].line, found.len()), ("needless-sudo", 2, 1));
        assert!(found[0].message.contains("2 times"));
    }

    #[test]
    fn sudo_for_others_and_in_their_blocks_is_fine() {
        for text in [
            "sudo -u azureuser pip install x\n",
            "sudo -u azureuser -i <<'EOF'\nsudo apt-get update\nEOF\n",
            "if command -v sudo; then :; fi\n",
            "$SUDO apt-get update\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn going_down_is_told() {
        for text in ["reboot\n", "shutdown -r now\n", "systemctl reboot\n", "if true; then init 6; fi\n"] {
            assert_eq!(rules_in(text), ["reboot"], "{text}");
        }
        for text in [
            "echo reboot\n",
            "shutdown -c\n",
            "systemctl restart reboot\n",
            "cat > /etc/cron.d/x <<E\n0 3 * * * root reboot\nE\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}");
        }
    }
}
