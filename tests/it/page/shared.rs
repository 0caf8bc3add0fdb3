//! Where pages are written, and by whom: on a share that belongs to others, after a crash, where nothing ran.

use std::fs;
use std::path::Path;

use ci_setup_agent::record::names::{DETAILS, GENERATOR, INDEX};

use faultfs::Options;

use crate::share::bench::{Bench, NAME, SHARE, STATE};
use crate::support::setup::{Request, run_call, run_with};
use crate::support::{Place, Room, wait_until};

/// What bears a name, without following it.
fn kind(path: &Path) -> Option<fs::FileType> {
    fs::symlink_metadata(path).ok().map(|about| about.file_type())
}

#[test]
fn what_stands_at_the_name_of_the_list_stays_there_and_nothing_else_is_missing() {
    let bench = Bench::with(Options::default());
    let folder = bench.share.backing().join("Logs").join(NAME);
    let index = folder.join(INDEX);
    bench.room.write("/root/secret", "precious", 0o600);
    bench.inline("echo one; sleep 0.5; exit 7", "30s");
    bench
        .room
        .bash(&format!("mkdir -p {SHARE}/Logs/{NAME} {SHARE}/victims; echo precious > {SHARE}/victims/file"))
        .ok();
    for plant in [
        "ln -s SHARE/victims X",
        "ln -s /root/secret X",
        "ln SHARE/victims/file X",
        "mkfifo X",
        "mkdir X; touch X/occupied",
        "echo precious > X",
    ] {
        let plant = plant.replace("SHARE", SHARE).replace('X', &format!("{SHARE}/Logs/{NAME}/{INDEX}"));
        bench.room.bash(&plant).ok();
        let before = kind(&index);
        let (ran, _) = bench.run(&["--rerun"]);
        assert_eq!(ran.code, 7, "{plant}: {}", ran.stderr);
        assert_eq!(kind(&index), before, "{plant}");
        if before.is_some_and(|kind| kind.is_file()) {
            assert_eq!(fs::read_to_string(&index).expect("it"), "precious\n", "{plant}");
        }
        assert_eq!(bench.room.read("/root/secret").as_deref(), Some("precious"), "{plant}");
        assert_eq!(fs::read_dir(bench.share.backing().join("victims")).expect("it").count(), 1, "{plant}");
        let outcome = bench.outcome();
        assert_eq!(outcome["output"]["mirror"], "current", "{plant}: {outcome:#}");
        assert_eq!(outcome["warnings"][0]["code"], "list-not-written", "{plant}: {outcome:#}");
        assert!(bench.mirrored(DETAILS).is_some(), "{plant}: the page");
        bench.room.bash(&format!("rm -r {SHARE}/Logs/{NAME}/{INDEX}")).ok();
    }
    assert_eq!(bench.run(&["--rerun"]).0.code, 7);
    let text = fs::read_to_string(&index).expect("a list, once nothing is in its way");
    assert_eq!(text.matches(DETAILS).count(), 7, "{text}");
    // A list that was torn, as a machine that dies in the middle leaves it, is written anew.
    fs::write(&index, "").expect("it");
    assert_eq!(bench.run(&["--rerun"]).0.code, 7);
    assert!(fs::read_to_string(&index).expect("a list").contains(GENERATOR));
}

/// As on a share of a workspace in which an instance was made again under its old name, or is there twice.
#[test]
fn two_instances_of_one_name_write_the_same_list_and_neither_spoils_it() {
    let bench = Bench::new();
    bench.inline("echo one; until [ -e /run/gate ]; do sleep 0.05; done; echo two", "100s");
    let folder = bench.share.backing().join("Logs").join(NAME);
    let runs = || fs::read_dir(folder.join("creation")).into_iter().flatten().flatten().map(|run| run.path());
    let call = |group: &str| {
        let state = format!("/var/lib/state-{group}");
        let words = ["ci-setup-agent", "run", "/root/request.json", "--resource-group", group, "--workspace", "wks"];
        let more = ["--name", NAME, "--state", &state, "--steps", "off", "--quiet"];
        bench.room.call(words.into_iter().chain(more).map(str::to_owned))
    };
    let mut running = Vec::new();
    for group in ["one", "two", "three"] {
        running.push(call(group).spawn());
        wait_until("its page", || {
            let pages = runs().filter(|run| run.join(DETAILS).exists()).count();
            if pages == running.len() { Ok(()) } else { Err(pages) }
        });
    }
    // All of them come to their end in one moment.
    bench.room.write("/run/gate", "", 0o600);
    for agent in running {
        let ran = agent.wait();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let list = fs::read_to_string(folder.join(INDEX)).expect("a list");
    assert!(list.contains(GENERATOR) && list.ends_with("</html>\n"), "{list}");
    for run in runs() {
        let mut names: Vec<_> = fs::read_dir(&run).expect("it").flatten().map(|file| file.file_name()).collect();
        names.sort();
        assert_eq!(names, ["details.html", "outcome.json", "output.log", "script.sh"]);
    }
}

#[test]
fn the_page_of_a_run_that_a_reboot_interrupted_says_so_after_the_next_start() {
    let mut room = Room::new("bookworm");
    let request = Request::creation("echo begun; exec sleep 1000");
    let agent = run_call(&room, &request, &["--quiet"]).spawn();
    let pages = |room: &Room, pattern: &str| room.bash(&format!("cat {pattern}/{DETAILS} 2> /dev/null")).stdout;
    let (here, there) = (format!("{STATE}/runs/*"), format!("{}/Logs/ci-1/creation/*", crate::support::SHARE));
    wait_until("a page of a run at work", || {
        let page = pages(&room, &there);
        if page.contains("Creation script is running") { Ok(()) } else { Err(agent.stderr()) }
    });
    room.reset();
    assert_eq!(run_with(&room, &request, &[]).code, 137);
    let page = pages(&room, &here);
    assert!(page.contains("Creation script was interrupted") && page.contains("begun\n"), "{page}");
    assert!(room.read(format!("{STATE}/{INDEX}")).expect("a list").contains("was interrupted"));
    assert_eq!(room.run(["ci-setup-agent", "sync"]).code, 0);
    let page = pages(&room, &there);
    assert!(page.contains("Creation script was interrupted") && !page.contains("http-equiv=\"refresh\""), "{page}");
}

#[test]
fn a_request_that_is_refused_has_a_page_and_what_is_kept_back_is_not_on_it() {
    let room = Room::new("bookworm");
    room.write("/etc/ci-setup-agent/config.toml", "[mirror]\nscript = false\narguments = false\n", 0o600);
    let share = crate::support::SHARE;
    let page = |room: &Room, folder: &str| room.bash(&format!("cat {folder}/{DETAILS}")).ok();
    let request = Request::creation_at("Users/none.sh").with("scriptArguments", "argument-secret");
    assert_eq!(run_with(&room, &request, &[]).code, 127);
    for folder in [format!("{STATE}/runs/creation-*"), format!("{share}/Logs/ci-1/creation/*")] {
        let page = page(&room, &folder);
        assert!(page.contains("Creation script was rejected (exit code 127)"), "{page}");
        assert_eq!(page.contains("argument-secret"), folder.starts_with(STATE), "{folder}");
    }
    assert_eq!(run_with(&room, &Request::creation("exit 5").with("timeout", "PT5M"), &[]).code, 125);
    let page = page(&room, &format!("{share}/Logs/ci-1/request/*"));
    assert!(page.contains("Request was rejected (exit code 125)") && page.contains("What to do next"), "{page}");
    let list = room.read(format!("{share}/Logs/ci-1/{INDEX}")).expect("a list");
    assert!(list.contains("href=\"creation/"), "{list}");
    let secret = "echo said\nfalse --token=command-secret\nbash -c 'exit 3' command-secret\n";
    super::until_recorded(&room, || assert_eq!(run_with(&room, &Request::creation(secret), &["--rerun"]).code, 3));
    let text = room.bash(&format!("grep -r command-secret {share}/Logs")).stdout;
    assert_eq!(text, "", "the name of the command is all that is told of it");
    let page = room.bash(&format!("cat {share}/Logs/ci-1/creation/*/{DETAILS}")).ok();
    assert!(page.contains("<code>false</code>"), "{page}");
}
