use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use super::{is_victim, kill_a_test, remains, wait_for_death};
use crate::support::{Cgroups, Place, Process, Room, SHARE, SUITES, binary_under_test, pids_with_marker, wait_until};

#[test]
fn a_room_holds_the_release_asked_for_and_the_program_under_test() {
    for suite in SUITES {
        let room = Room::new(suite);
        let release = room.bash(". /etc/os-release; echo $VERSION_CODENAME").ok();
        assert_eq!(release.trim(), suite);
        let installed = fs::read(room.path("/usr/bin/ci-setup-agent")).expect("the program");
        assert!(installed == fs::read(binary_under_test()).expect("the program"));
        room.run(["test", "-x", "/usr/bin/ci-setup-agent"]).ok();
    }
}

#[test]
fn a_call_returns_output_and_exit_code_or_signal() {
    let room = Room::new("bookworm");
    let ran = room.bash("echo out; echo err >&2; printf '\\377'; exit 7");
    assert_eq!((ran.code, ran.stderr.as_str(), ran.bytes.as_slice()), (7, "err\n", b"out\n\xff".as_slice()));
    assert_eq!(room.bash("kill -KILL $$").code, 137);
    assert_eq!(room.run(["no-such-program"]).code, 127);
}

#[test]
fn a_call_gets_the_environment_folder_and_input_it_was_given_and_no_other() {
    let room = Room::new("bookworm");
    let call = room.call(["bash", "-c", "pwd; cat; env -u PATH -u PWD -u SHLVL -u _ env"]);
    let output = call.env("COLOUR", "red").folder("/usr/lib").input("typed\n").run().ok();
    assert_eq!(output, "/usr/lib\ntyped\nCOLOUR=red\n");
    let own = room.bash("echo $(ps -o sid= $$) $$ $(readlink /proc/self/fd/0)").ok();
    let own: Vec<_> = own.split_whitespace().collect();
    assert_eq!((own[0], own[2]), (own[1], "/dev/null"));
}

#[test]
fn a_call_does_not_wait_for_a_daemon_that_keeps_its_output_open() {
    let room = Room::new("bookworm");
    let output = room.bash("(trap '' HUP; exec sleep infinity) & echo started").ok();
    assert_eq!(output, "started\n");
    assert_eq!(room.processes().len(), 1);
}

#[test]
fn a_spawned_program_can_be_signalled_and_its_output_read_while_it_runs() {
    let room = Room::new("bookworm");
    let mut program =
        room.spawn(["bash", "-c", "trap 'echo caught; exit 3' TERM; echo up; while :; do sleep 0.01; done"]);
    wait_until("a program's first line", || if program.stdout() == "up\n" { Ok(()) } else { Err(program.stderr()) });
    assert!(program.is_running());
    program.signal(Signal::SIGTERM);
    let ran = program.wait();
    assert_eq!((ran.code, ran.stdout.as_str()), (3, "up\ncaught\n"));
}

#[test]
fn a_room_shows_its_own_processes_and_mounts_only() {
    let (room, _other) = (Room::new("bookworm"), Room::new("bookworm"));
    let processes = room.run(["ps", "-e", "-o", "pid=,comm="]).ok();
    assert_eq!(processes.lines().count(), 2, "{processes}");
    let mounts = room.run(["cat", "/proc/self/mountinfo"]).ok();
    let points: Vec<_> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let expected = "/ /proc /sys /dev/pts /dev/ptmx /dev/shm /sys/kernel/tracing /proc/sys/kernel/random/boot_id \
                    /sys/fs/cgroup";
    assert_eq!(points, expected.split(' ').chain([SHARE]).collect::<Vec<_>>(), "{mounts}");
    assert_eq!(room.bash("hostname; cat /sys/class/net/lo/operstate; ls /sys/class/net").ok(), "ci-1\nunknown\nlo\n");
}

#[test]
fn a_room_buries_its_orphans() {
    let room = Room::new("bookworm");
    room.bash("for i in {1..20}; do (sleep 0 & ) ; done").ok();
    wait_until("orphans to be gone, not zombies", || {
        let states = room.run(["ps", "-e", "-o", "stat=,comm="]).ok();
        if states.lines().count() == 2 { Ok(()) } else { Err(states) }
    });
}

#[test]
fn a_room_sees_cgroups_in_the_way_asked_for() {
    let own = "grep ^0: /proc/self/cgroup";
    let seen = |cgroups, lines: &str| Room::with_cgroups("bookworm", cgroups).bash(lines).stdout;
    let service = "0::/system.slice/walinuxagent.service\n";
    for cgroups in [Cgroups::None, Cgroups::Unified, Cgroups::Hybrid, Cgroups::ReadOnly] {
        assert_eq!(seen(cgroups, own), service, "{cgroups:?}");
    }
    let make =
        |root: &str| format!("stat -f -c %T {root}; mkdir {root}/leaf && (echo 0 > {root}/leaf/cgroup.procs; {own})");
    assert_eq!(seen(Cgroups::Unified, &make("/sys/fs/cgroup")), "cgroup2fs\n0::/leaf\n");
    assert_eq!(seen(Cgroups::Hybrid, &make("/sys/fs/cgroup/unified")), "cgroup2fs\n0::/leaf\n");
    assert_eq!(seen(Cgroups::ReadOnly, &make("/sys/fs/cgroup")), "cgroup2fs\n");
    assert_eq!(seen(Cgroups::Unified, "cat /sys/fs/cgroup/cgroup.procs"), "1\n");
    assert_eq!(seen(Cgroups::None, "ls -A /sys/fs/cgroup"), "");
}

#[test]
fn an_ordinary_user_in_a_room_is_nobody_special() {
    let room = Room::without_sudo("bookworm");
    room.write("/root/secret", "x", 0o600);
    let ran = room.call(["bash", "-c", "id -un; id -Gn; grep CapEff /proc/self/status; cat /root/secret; sudo id"]);
    let ran = ran.user("datasci").run();
    assert_eq!((ran.stdout.as_str(), ran.code), ("datasci\ndatasci\nCapEff:\t0000000000000000\n", 127));
    assert!(ran.stderr.contains("/root/secret: Permission denied"), "{}", ran.stderr);
}

#[test]
fn azureuser_in_a_room_may_do_everything_with_sudo() {
    for suite in SUITES {
        let ran = Room::new(suite).call(["sudo", "-n", "id", "-un"]).user("azureuser").run();
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("root\n", ""), "{suite}");
    }
}

#[test]
fn a_room_has_the_devices_share_and_tracefs_of_an_instance() {
    let room = Room::new("bookworm");
    fs::write(room.share().join("notebook"), "from the share").expect("the share");
    assert_eq!(room.run(["cat", &format!("{SHARE}/notebook")]).ok(), "from the share");
    room.call(["touch", &format!("{SHARE}/by-user")]).user("azureuser").run().ok();
    room.call(["bash", "-c", "exec 3<> /dev/fuse; echo > /dev/null; script -qc tty /dev/null"])
        .user("datasci")
        .run()
        .ok();
    room.bash("test -w /sys/kernel/tracing/uprobe_events").ok();
}

#[test]
fn files_are_written_and_read_as_from_inside() {
    let room = Room::new("bookworm");
    room.bash("mkdir /srv/real; ln -s /srv/real /srv/link").ok();
    room.write("/srv/link/script.sh", "echo hello\n", 0o755);
    assert_eq!(room.bash("/srv/real/script.sh; stat -c %a /srv/real/script.sh").ok(), "hello\n755\n");
    assert_eq!(room.read("/srv/link/script.sh").as_deref(), Some("echo hello\n"));
    assert_eq!(room.read("/srv/link/none"), None);
    assert!(!Path::new("/srv/real").exists(), "written on the host");
}

#[test]
fn a_reset_ends_all_programs_and_keeps_the_disk() {
    let mut room = Room::new("bookworm");
    let boot_id = room.read("/proc/sys/kernel/random/boot_id");
    room.bash("echo kept > /root/file; setsid sleep infinity & sleep infinity < /dev/null &").ok();
    let before = room.processes();
    assert_eq!(before.len(), 2, "{before:?}");
    room.reset();
    assert!(room.processes().is_empty());
    assert!(before.iter().all(|process| Process::of(process.pid).is_none()));
    assert_eq!(room.read("/root/file").as_deref(), Some("kept\n"));
    assert_ne!(room.read("/proc/sys/kernel/random/boot_id"), boot_id);
}

#[test]
fn processes_are_found_by_a_marker_in_arguments_or_environment() {
    let room = Room::new("bookworm");
    let marker = format!("marker-of-{}", room.disk().name);
    assert!(pids_with_marker(&marker).is_empty());
    let by_environment = room.call(["sleep", "infinity"]).env("MARKED", &marker).user("datasci").spawn();
    let by_argument = room.spawn(["bash", "-c", "sleep infinity; true", &marker]);
    let programs = [by_environment, by_argument].map(|program| Process::of(program.pid()).expect("it runs"));
    assert_eq!(programs.each_ref().map(|program| program.uid), [1001, 0]);
    let found = pids_with_marker(&marker);
    assert!(programs.iter().all(|program| found.contains(&program.pid)), "{found:?} {programs:?}");
}

#[test]
fn nothing_is_left_of_a_room_that_was_dropped() {
    let room = Room::new("bookworm");
    room.bash("setsid sleep infinity & mount -t tmpfs none /mnt; mkdir -p /sys/fs/cgroup/a/b").ok();
    let name = room.disk().name.clone();
    assert!(remains(&name).len() >= 3, "{:?}", remains(&name));
    drop(room);
    assert_eq!(remains(&name), [""; 0]);
}

#[test]
fn nothing_is_left_of_a_room_whose_test_was_killed() {
    if is_victim() {
        wait_for_death(&Room::new("bookworm"));
    }
    kill_a_test("harness::rooms::nothing_is_left_of_a_room_whose_test_was_killed");
}
