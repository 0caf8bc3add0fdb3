//! Blocks on booted machines, where `sudo -i` opens a session and moves the block away (CONTRACT 7).

use serde_json::Value;

use super::recorded_run;
use crate::support::{Machine, Place, setup::Request};

/// Every way into a block that scripts use; in each of them one command fails and is passed over.
const SCRIPT: &str = "\
echo begin
sudo -u azureuser -i <<'EOF'
cd ~
nosuch-one create -n x
echo in the home folder
EOF
sudo -u azureuser bash <<'EOF'
nosuch-two
true
EOF
sudo -u azureuser bash -c 'true
nosuch-three
true'
sudo -u azureuser -i bash <<'EOF'
true
nosuch-four
env | grep -c -e BASH_ENV
true
EOF
echo end
";

/// What each of them is told as: line, line in the block, command.
const FAILED: [(u64, u64, &str); 4] =
    [(4, 2, "nosuch-one create -n x"), (8, 1, "nosuch-two"), (12, 2, "nosuch-three"), (16, 2, "nosuch-four")];

const ENDLESS: &str = "echo\necho\nsudo -u azureuser -i <<'EOF'\necho\nsleep 1000\nEOF\n";

fn failed(outcome: &Value) -> Vec<(u64, u64, &str)> {
    let list = outcome["failedCommands"].as_array().expect("a list").iter();
    let told = list.filter(|failed| failed["exitCode"] == 127 && failed["block"]["user"] == "azureuser");
    told.map(|failed| {
        let number = |value: &Value| value.as_u64().expect("a number");
        (number(&failed["line"]), number(&failed["block"]["line"]), failed["command"].as_str().expect("a text"))
    })
    .collect()
}

/// Both sources tell the failing line of every kind of block, and the line that was running at a timeout.
fn tells_the_failing_line(suite: &str) {
    let machine = Machine::booted(suite);
    for source in ["auto", "hook"] {
        let (code, outcome) = recorded_run(&machine, &Request::creation(SCRIPT), source, &[]);
        assert_eq!((code, failed(&outcome)), (0, FAILED.to_vec()), "{source}: {outcome:#}");
        let log = format!("/var/lib/ci-setup-agent/runs/{}/output.log", outcome["runId"].as_str().expect("an id"));
        let log = machine.read(log).expect("a log");
        assert!(log.ends_with("nosuch-four: command not found\n0\nend\n"), "{source}: {log}");

        // A busy machine may take longer to come to the line: then it is given more time.
        let run = |timeout: &str| {
            let endless = Request::creation(ENDLESS).with("timeout", timeout);
            recorded_run(&machine, &endless, source, &["--grace", "1s"])
        };
        let first = run("3s");
        let (code, outcome) = if first.1["steps"]["current"]["line"] == 5 { first } else { run("30s") };
        let message = outcome["error"]["message"].as_str().expect("a message");
        let told = "timed out in line 5 of the script, line 2 of the azureuser block: `sleep 1000`, after ";
        assert!(message.starts_with(told), "{source}: {message}");
        assert_eq!((code, outcome["steps"]["current"]["line"].as_u64()), (124, Some(5)), "{source}");
    }
    let left = machine.bash("ls -d /var/lib/ci-setup-agent-steps.* /etc/sudoers.d/zzz-ci-setup-agent-*; visudo -c");
    assert!(left.code == 0 && !left.stdout.contains("-steps-") && !left.stdout.contains("/var/lib"), "{left:?}");
}

#[test]
fn the_failing_line_of_every_kind_of_block_is_told_on_bullseye() {
    tells_the_failing_line("bullseye");
}

#[test]
fn the_failing_line_of_every_kind_of_block_is_told_on_bookworm() {
    tells_the_failing_line("bookworm");
}

#[test]
fn the_failing_line_of_every_kind_of_block_is_told_on_trixie() {
    tells_the_failing_line("trixie");
}
