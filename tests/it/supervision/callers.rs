//! Many callers at the same time: one executes, all get its result (CONTRACT 9).

use super::{outcomes, prepare, run_with};
use crate::support::{Machine, Place, Room};

fn call_at_once(place: &impl Place, callers: usize, options: &[&str]) -> Vec<crate::support::call::Ran> {
    let calls: Vec<_> = (0..callers).map(|_| place.spawn(run_with(options))).collect();
    calls.into_iter().map(crate::support::call::Spawned::wait).collect()
}

const SCRIPT: &str = "echo executed >> /root/executions; sleep 1; echo end; exit 7";

#[test]
fn of_two_and_of_ten_callers_one_executes_and_all_get_its_result() {
    for callers in [2, 10] {
        let room = Room::new("bookworm");
        prepare(&room, SCRIPT, "1000s");
        let all = call_at_once(&room, callers, &[]);
        assert!(all.iter().all(|ran| ran.code == 7), "{all:#?}");
        assert_eq!(all.iter().filter(|ran| ran.stdout == "end\n").count(), 1, "{all:#?}");
        assert_eq!(room.read("/root/executions").as_deref(), Some("executed\n"));
        assert_eq!(outcomes(&room).len(), 1);
    }
}

#[test]
fn of_a_hundred_callers_one_executes_and_all_get_its_result() {
    let machine = Machine::booted("bookworm");
    prepare(&machine, SCRIPT, "1000s");
    let all = call_at_once(&machine, 100, &["--json"]);
    let outcome = outcomes(&machine);
    assert_eq!(outcome.len(), 1);
    for ran in &all {
        assert_eq!(ran.code, 7, "{ran:?}");
        let told: serde_json::Value = serde_json::from_str(&ran.stdout).expect("an outcome");
        assert_eq!((&told["runId"], &told["state"]), (&outcome[0]["runId"], &"failed".into()));
    }
    assert_eq!(machine.read("/root/executions").as_deref(), Some("executed\n"));
}

#[test]
fn those_who_wait_for_a_run_that_is_killed_do_not_execute_it_again() {
    let room = Room::new("bookworm");
    prepare(&room, "echo executed >> /root/executions; exec -a victim sleep 10000", "1000s");
    let first = super::start(&room, &[]);
    let others: Vec<_> = (0..5).map(|_| room.spawn(run_with(&[]))).collect();
    for other in &others {
        crate::support::wait_until("the others to wait", || {
            if other.stderr().contains("waiting") { Ok(()) } else { Err(other.stderr()) }
        });
    }
    first.signal(nix::sys::signal::Signal::SIGKILL);
    for other in others {
        assert_eq!(other.wait().code, 137);
    }
    assert_eq!(room.read("/root/executions").as_deref(), Some("executed\n"));
}
