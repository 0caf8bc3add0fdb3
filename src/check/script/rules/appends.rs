//! `appends-again`: a startup script runs at every start, and adds the same lines each time.

use super::{Notes, View};
use crate::check::script::Role;
use crate::check::script::launch::Launch;
use crate::check::script::model::{Command, Shell, Word};

/// Files that stay, and in which a line that is there twice is there for ever.
const KEPT: [&str; 12] = [
    ".bashrc",
    ".profile",
    ".bash_profile",
    ".bash_aliases",
    ".zshrc",
    "/etc/",
    ".condarc",
    "authorized_keys",
    "known_hosts",
    ".gitconfig",
    ".ssh/",
    ".env",
];

/// Tells each append that nothing guards.
pub fn again_at_every_start(view: &View<'_>, notes: &mut Notes<'_>) {
    if view.role != Role::Startup {
        return;
    }
    for (index, command) in view.shell.commands.iter().enumerate() {
        let Some(target) = appended(command).filter(|target| KEPT.iter().any(|kept| target.contains(kept))) else {
            continue;
        };
        if command.scope.guarded || command.scope.in_function || is_made_anew(view.shell, index, &target) {
            continue;
        }
        notes.warn(
            "appends-again",
            view.shell.text.place(command.at),
            format!("a startup script runs at every start: `{target}` grows each time"),
            "look first: `grep -qxF LINE FILE || echo LINE >> FILE`; or write the whole file with `>`",
        );
    }
}

/// The file that a command appends to.
fn appended(command: &Command) -> Option<String> {
    let redirect = command.redirects.iter().find(|redirect| redirect.operator == ">>");
    if let Some(target) = redirect.and_then(|redirect| redirect.target.as_ref()) {
        return Some(target.unquoted());
    }
    let launch = Launch::of(command);
    let tees = launch.name() == "tee" && (launch.has(&["--append"]) || launch.has_letter("a"));
    launch.operands().next().filter(|_| tees).map(Word::unquoted)
}

/// Something before writes, edits or removes the file.
fn is_made_anew(shell: &Shell, index: usize, target: &str) -> bool {
    shell.commands[..index].iter().any(|command| {
        let written = command.redirects.iter().any(|redirect| {
            redirect.operator == ">" && redirect.target.as_ref().is_some_and(|word| word.unquoted() == target)
        });
        let named = command.words.iter().any(|word| word.unquoted() == target);
        written || named && matches!(Launch::of(command).name(), "rm" | "sed" | "cp" | "truncate" | "mv" | "tee")
    })
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{rules_in, rules_in_startup};

    #[test]
    fn lines_added_at_every_start_are_told() {
        for text in [
            "echo 'export X=1' >> /home/azureuser/.bashrc\n",
            "cat >> /etc/hosts <<E\n10.0.0.1 a\nE\n",
            "echo x | tee -a /etc/hosts\n",
            "sudo -u azureuser -i <<'EOF'\necho x >> ~/.profile\nEOF\n",
        ] {
            assert_eq!(rules_in_startup(text), ["appends-again"], "{text}");
            assert!(rules_in(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn guarded_appends_logs_and_whole_files_are_fine() {
        for text in [
            "grep -q X ~/.bashrc || echo X >> ~/.bashrc\n",
            "if ! grep -q X /etc/hosts; then\n  echo X >> /etc/hosts\nfi\n",
            "echo a > /etc/x.conf\necho b >> /etc/x.conf\n",
            "sed -i /X/d /etc/hosts\necho X >> /etc/hosts\n",
            "echo start >> /var/log/mine.log\n",
        ] {
            assert!(rules_in_startup(text).is_empty(), "{text}");
        }
    }
}
