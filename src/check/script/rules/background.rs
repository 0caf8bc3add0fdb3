//! `background-job`: a job that outlives the script and writes into its log holds that log open.

use super::{Notes, View};
use crate::check::script::launch::Launch;
use crate::check::script::model::{Shell, Word};

/// Tells each job whose output nobody turned away.
pub fn holds_log(view: &View<'_>, notes: &mut Notes<'_>) {
    if is_looked_after(view.shell) {
        return;
    }
    let mut told = None;
    for command in &view.shell.commands {
        let scope = &command.scope;
        let Some(job) = scope.background.filter(|_| !scope.substituted && !command.words.is_empty()) else { continue };
        if scope.stdout_elsewhere && scope.stderr_elsewhere || told == Some(job) {
            continue;
        }
        told = Some(job);
        let name = Launch::of(command).name().to_owned();
        let what = if name.is_empty() { "this job".into() } else { format!("`{name}`") };
        notes.warn(
            "background-job",
            view.shell.text.place(job),
            format!("{what} goes on in the background with the script's log as its output"),
            "add `> /var/log/NAME.log 2>&1 < /dev/null` before the `&`, or `wait` for it; a service belongs to `systemd-run`",
        );
    }
}

/// The shell waits for its jobs, ends them, or has an output of its own.
fn is_looked_after(shell: &Shell) -> bool {
    shell.commands.iter().any(|command| match command.words.first().map(Word::text) {
        Some("wait" | "kill") => true,
        Some("exec") => {
            let to_file = |word: &Word| !word.raw.starts_with(">(");
            command.words.len() == 1
                && command.redirects.iter().any(|redirect| {
                    redirect.operator.contains('>')
                        && redirect.target.as_ref().is_some_and(to_file)
                        && redirect.operator != ">&"
                })
        }
        Some(_) | None => false,
    })
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{found, rules_in};

    #[test]
    fn a_job_that_keeps_the_log_is_told() {
        for text in [
            "python server.py &\n",
            "nohup jupyter lab &\n",
            "jupyter lab > /tmp/log &\n",
            "( sleep 5; echo x ) &\n",
            "sudo -u azureuser bash <<'EOF'\nnohup ./x &\nEOF\n",
            "a && b &\n",
        ] {
            assert_eq!(rules_in(text), ["background-job"], "{text}");
        }
    }

    #[test]
    fn a_job_with_an_output_of_its_own_or_that_is_waited_for_is_fine() {
        for text in [
            "nohup jupyter lab > /tmp/log 2>&1 &\n",
            "nohup jupyter lab &> /tmp/log &\n",
            "( sleep 5; echo x ) > /dev/null 2>&1 &\n",
            "{ sleep 5; echo x; } >> /tmp/l 2>> /tmp/e &\n",
            "pip download a &\npip download b &\nwait\n",
            "exec > /var/log/x 2>&1\nfoo &\n",
            "echo 'a & b'; a 2>&1 | b\n",
            "python server.py &\npid=$!\nkill $pid\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
