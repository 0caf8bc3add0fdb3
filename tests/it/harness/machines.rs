use crate::support::{Machine, Place};

#[test]
fn a_machine_boots() {
    let machine = Machine::booted("bookworm");
    assert_eq!(machine.run(["systemctl", "is-system-running"]).stdout.trim(), "running");
}
