//! The script's environment, and how the `CI_*` variables reach what runs later or elsewhere (CONTRACT 4).

use std::collections::BTreeMap;

use crate::support::{
    Place, Room, SUITES,
    setup::{IDENTITY, Request, outcomes, run, run_call, run_with},
    wait_until,
};

const NAMES: &str = "echo $CI_RESOURCE_GROUP $CI_WORKSPACE $CI_NAME $CI_LOCAL_UBUNTU_USER";
const VALUES: &str = "my-rg my-ws ci-1 azureuser\n";

fn parsed(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

#[test]
fn the_environment_is_as_promised_and_nothing_is_inherited() {
    let room = Room::new("bookworm");
    let request = Request::creation("cat /proc/$$/environ | tr '\\0' '\\n'");
    let call = run_call(&room, &request, &[]).env("SECRET", "x").env("BASH_ENV", "/root/evil").env("LC_ALL", "C");
    let call = call.env("LD_PRELOAD", "/nowhere.so").env("CI_NAME", "old").env("HOME", "/tmp").env("TERM", "xterm");
    let mut found = parsed(&call.run().ok());
    // A mark by which the run's processes are known, in sudo blocks too.
    assert!(found.remove("CI_SETUP_RUN").is_some_and(|token| token.starts_with("creation-")), "{found:?}");
    let expected = [
        ("ADMIN_USERNAME", "azureuser"),
        ("APT_CONFIG", "/var/lib/ci-setup-agent/apt.conf"),
        ("CI_LOCAL_UBUNTU_USER", "azureuser"),
        ("CI_NAME", "ci-1"),
        ("CI_RESOURCE_GROUP", "my-rg"),
        ("CI_WORKSPACE", "my-ws"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
        ("LOGNAME", "root"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"),
        ("PWD", crate::support::SHARE),
        ("SHELL", "/bin/bash"),
        ("USER", "root"),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn the_machines_variables_are_those_that_pam_gives_a_login() {
    let text = "PATH=\"/opt/conda/bin:/usr/bin:/bin\"\nLANG=de_DE.UTF-8\nexport A=\"two words\"\n  B='x' # comment\nC=a#b\n\
                D=$HOME\nE=\nF-G=bad\nH=say \"hi\"\n#I=no\nJ\nK=one\\\n  two\nL=cr\r\nM='it''s\"\nN= blank \nO=\"\"\n";
    let room = Room::new("bookworm");
    room.write("/etc/environment", text, 0o644);
    let show = "env | grep -aE '^(PATH|LANG|[A-O](-G)?)=' | sort";
    let found = run(&room, &Request::creation(show)).ok();
    // The oracle: pam_env itself, on its way into a program that changes nothing.
    let login = room.bash(&format!("sudo -u azureuser env -u PATH true; su azureuser -s /bin/bash -c \"{show}\""));
    let [found, login] = [found, login.ok()].map(|text| parsed(&text));
    for name in ["LANG", "A", "B", "C", "D", "E", "H", "K", "L", "M", "N", "O"] {
        assert!(login.contains_key(name), "{name}: {login:?}");
        assert_eq!(found.get(name), login.get(name), "{name}: {found:?} {login:?}");
    }
    assert_eq!(found.get("PATH").map(String::as_str), Some("/opt/conda/bin:/usr/bin:/bin"));
    assert!(!found.contains_key("F-G") && !found.contains_key("I"), "{found:?}");
}

#[test]
fn sudo_blocks_logins_and_cron_find_the_variables() {
    for suite in SUITES {
        let room = Room::new(suite);
        let text = format!(
            "sudo -u azureuser -i <<'EOF'\n{NAMES}; pwd; echo [$1]\nEOF\nsudo -u azureuser bash <<'EOF'\n{NAMES}; pwd\nEOF\n\
             sudo -u azureuser env | grep -c ^CI_NAME=ci-1\nsu - azureuser -c '{NAMES}'\nsudo -H -u azureuser bash -c '{NAMES}'\n\
             sudo bash -c '{NAMES}'\n"
        );
        let output = run(&room, &Request::creation(text).with("scriptArguments", "argument")).ok();
        let share = crate::support::SHARE;
        let expected = format!("{VALUES}/home/azureuser\n[]\n{VALUES}{share}\n1\n{VALUES}{VALUES}{VALUES}");
        assert_eq!(output, expected, "{suite}");
        // Later, without the agent.
        assert_eq!(room.bash(&format!("su - azureuser -c '{NAMES}'")).ok(), VALUES, "{suite}");
    }
}

#[test]
fn a_sudo_block_needs_no_terminal_and_the_rules_are_valid() {
    let room = Room::new("bookworm");
    room.write("/etc/sudoers.d/50-tty", "Defaults requiretty\nDefaults env_reset, !env_keep\n", 0o440);
    let ran = run(&room, &Request::creation(format!("sudo -u azureuser bash -c '{NAMES}'")));
    assert_eq!(ran.stdout, VALUES, "{ran:?}");
    room.bash("visudo -c").ok();
    assert_eq!(room.bash("stat -c '%a %U' /etc/sudoers.d/zzz-ci-setup-agent").ok(), "440 root\n");
}

#[test]
fn the_rules_are_there_before_a_script_installs_sudo() {
    let room = Room::new("bookworm");
    room.bash("mkdir /srv/later; mv /usr/bin/sudo /etc/sudoers.d /srv/later").ok();
    let install = "mv /srv/later/sudo /usr/bin; cp -p /srv/later/sudoers.d/* /etc/sudoers.d";
    let ran = run(&room, &Request::creation(format!("{install}; sudo -u azureuser bash -c '{NAMES}'")));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, VALUES), "{ran:?}");
}

#[test]
fn the_block_in_etc_environment_is_written_replaced_and_otherwise_left_alone() {
    let room = Room::new("bookworm");
    let at = "/etc/environment";
    let own = "# the machine's own\nPATH=\"/usr/bin:/bin\"\nLAST=1";
    room.write(at, own, 0o640);
    room.bash(&format!("chown azureuser:adm {at}")).ok();
    run(&room, &Request::creation("cat /etc/environment > /root/seen")).ok();
    let text = room.read(at).expect("the file");
    assert_eq!(room.read("/root/seen").as_ref(), Some(&text), "written before the script runs");
    assert!(text.starts_with(&format!("{own}\n# BEGIN ci-setup-agent")), "{text}");
    assert!(text.contains("\nCI_NAME=\"ci-1\"\n") && text.ends_with("# END ci-setup-agent\n"), "{text}");
    let stat = || room.bash(&format!("stat -c '%a %U %G' {at}; ls /etc | grep -c ^environment")).ok();
    assert_eq!(stat(), "640 azureuser adm\n1\n");

    let inode = || room.bash(&format!("stat -c %i {at}")).ok();
    let before = inode();
    run_with(&room, &Request::creation("true"), &["--rerun"]).ok();
    assert_eq!(inode(), before, "nothing to change, nothing written");

    room.write(at, format!("{text}AFTER=2\n"), 0o640);
    let options = ["--name", "ci-2", "--share", crate::support::SHARE];
    let words = ["ci-setup-agent", "run", "-"].into_iter().chain(IDENTITY[..4].iter().copied()).chain(options);
    room.call(words.map(str::to_owned)).input(Request::creation("true").text()).run().ok();
    let other = text.replace("ci-1", "ci-2") + "AFTER=2\n";
    assert_eq!(room.read(at), Some(other));
    assert_eq!(stat(), "640 azureuser adm\n1\n");
}

#[test]
fn lines_that_others_add_after_a_torn_block_are_kept() {
    let room = Room::new("bookworm");
    run(&room, &Request::creation("true")).ok();
    let text = room.read("/etc/environment").expect("the file").replace("# END ci-setup-agent\n", "PROXY=\"x\"\n");
    room.write("/etc/environment", &text, 0o644);
    run_with(&room, &Request::creation("true"), &["--rerun"]).ok();
    let mended = room.read("/etc/environment").expect("the file");
    assert!(mended.contains("PROXY=\"x\"\n") && mended.contains("# END ci-setup-agent\n"), "{mended}");
    assert_eq!(mended.matches("CI_NAME").count(), 1, "{mended}");
}

#[test]
fn a_machine_without_etc_environment_gets_one_that_everybody_may_read() {
    let room = Room::new("bookworm");
    room.bash("rm -f /etc/environment").ok();
    run(&room, &Request::creation("true")).ok();
    assert_eq!(room.bash("stat -c '%a %U' /etc/environment").ok(), "644 root\n");
    // One on which nothing can be written runs its script all the same.
    room.bash(
        "rm /etc/environment /etc/sudoers.d/zzz-ci-setup-agent; mount --bind /etc /etc; mount -o remount,ro,bind /etc",
    )
    .ok();
    let ran = run_with(&room, &Request::creation(NAMES), &["--rerun", "--json"]);
    let outcome = outcomes(&ran).remove(0);
    let warnings = outcome["warnings"].as_array().expect("warnings").iter().map(|one| one["code"].as_str());
    assert_eq!(
        warnings.collect::<Vec<_>>(),
        [Some("environment-not-published"), Some("sudoers-not-written")],
        "{ran:?}"
    );
    assert_eq!((ran.code, outcome["output"]["bytes"].as_u64()), (0, Some(VALUES.len() as u64)), "{ran:?}");
}

#[test]
fn variables_of_the_config_file_reach_the_script() {
    let room = Room::new("bookworm");
    let config = "[environment]\nMLFLOW_TRACKING_URI = \"azureml://x?a=b c\"\nhttps_proxy = 'http://proxy:3128'\n";
    room.write("/etc/ci-setup-agent/config.toml", config, 0o600);
    let ran = run(&room, &Request::creation("echo $MLFLOW_TRACKING_URI; echo $https_proxy"));
    assert_eq!(ran.ok(), "azureml://x?a=b c\nhttp://proxy:3128\n");
}

/// Holds a lock of apt or dpkg, as these do, until `/root/release` is there.
fn hold(room: &Room, lock: &str) {
    let program = format!(
        "use Fcntl; my $whole = pack('s s x![q] q q i x4', F_WRLCK, 0, 0, 0, 0); open(my $f, '>>', '{lock}') or die; \
         fcntl($f, F_SETLK, $whole) or die; open(my $held, '>', '/root/held'); close $held; \
         select(undef, undef, undef, 0.05) until -e '/root/release'"
    );
    room.bash("rm -f /root/held /root/release").ok();
    drop(room.spawn(["perl", "-e", &program]));
    wait_until("the lock to be held", || room.read("/root/held").ok_or("not held"));
}

#[test]
fn a_script_that_names_apt_waits_for_its_locks_and_apt_itself_does_so_in_any_other() {
    let room = Room::new("bookworm");
    hold(&room, "/var/lib/apt/lists/lock");
    let running = run_call(&room, &Request::creation("echo start # apt-get update"), &["--json"]).spawn();
    let waits = || if running.stderr().contains("note: waiting for `perl`") { Ok(()) } else { Err(running.stderr()) };
    wait_until("the run to wait", waits);
    // Longer than the script itself takes: none of it counts.
    const WAIT: f64 = 3.0;
    std::thread::sleep(std::time::Duration::from_secs_f64(WAIT));
    assert_eq!(running.stdout(), "");
    room.write("/root/release", "", 0o644);
    let outcome = outcomes(&running.wait()).remove(0);
    assert_eq!((&outcome["state"], &outcome["warnings"][0]["code"]), (&"succeeded".into(), &"waited-for-apt".into()));
    let told = outcome["warnings"][0]["message"].as_str().expect("a message");
    assert!(told.contains("`perl` (pid ") && told.contains("/var/lib/apt/lists/lock"), "{told}");
    assert!(outcome["elapsedSeconds"].as_f64().is_some_and(|seconds| seconds < WAIT), "{outcome:#}");

    // Its name is nowhere in this text.
    hold(&room, "/var/lib/dpkg/lock-frontend");
    let request = Request::creation("a=ap; ${a}t-get -y remove no-such-package; echo end");
    let running = run_call(&room, &request, &["--rerun"]).spawn();
    wait_until("apt to wait", || {
        if running.stdout().contains("Waiting for cache lock") { Ok(()) } else { Err(running.stdout()) }
    });
    room.write("/root/release", "", 0o644);
    let ran = running.wait();
    assert!(ran.stdout.ends_with("end\n") && !ran.stderr.contains("waiting for"), "{ran:?}");
}

#[test]
fn what_a_script_needs_and_the_machine_lacks_is_a_warning() {
    let room = Room::without_sudo("bookworm");
    let text = "# sudo -u ghost\necho ran\nif false; then sudo -u nobody-here -i; fi\nif false; then sudo -u azureuser id -un; fi";
    let ran = run(&room, &Request::creation(text));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "ran\n"), "{ran:?}");
    let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 2, "{ran:?}");
    assert!(warnings[0].contains("not installed") && warnings[1].contains("`nobody-here`"), "{ran:?}");
}
