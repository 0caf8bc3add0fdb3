//! Real runs, in a room with the faulting share, and the pages that they left.

use std::fs;
use std::path::{Path, PathBuf};

use ci_setup_agent::record::names::{DETAILS, INDEX};
use faultfs::{Errno, Fault, Ops};
use serde_json::json;

use super::{NARROW, WIDE};
use crate::share::bench::{Bench, NAME, STATE};
use crate::support::browser::{Browser, Look};
use crate::support::call::Call;
use crate::support::{Place, wait_until};

/// A page, and what its top has to say.
pub struct Scene {
    pub name: &'static str,
    pub page: PathBuf,
    pub words: &'static [&'static str],
}

/// Where pictures are to be left, if anybody wants them: `scripts/screenshots` does.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("SETUP_TESTS_PICTURES").map(PathBuf::from)
}

const SUCCESS: &str = r#"#!/bin/bash
set -e
echo "Setting up $CI_NAME for $1"
sleep 0.4
echo "export TEAM=vision" > /etc/profile.d/team.sh
sudo -u azureuser -i << 'END'
set -e
mkdir -p projects
printf '\033[1mCloning\033[0m into projects/models...\n'
sleep 1.1
printf '\033[32m✓\033[0m 3 repositories\n'
END
sleep 0.3
echo "Done."
"#;

const FAILURE: &str = r#"#!/bin/bash
set -e
echo "Installing the team's packages"
sleep 0.5
sudo -u azureuser -i << 'END'
set -e
echo "Creating the environment"
sleep 1.2
conda create --yes --name vision python=3.12
pip install --requirement requirements.txt
END
echo "Done."
"#;

const TIMEOUT: &str = r#"#!/bin/bash
echo "Downloading the data set"
sleep 0.2
for part in 1 2 3; do
    printf 'part %s of 40\r' "$part"
    sleep 0.3
done
sudo -u azureuser -i << 'END'
echo "Waiting for the server"
sleep 600
END
"#;

const OUTAGE: &str = r#"#!/bin/bash
set -e
cd /
echo "first part"
until [ -e /run/gate ]; do sleep 0.05; done
seq -f 'line %g of what the share does not take' 1 3000
echo "Done."
"#;

const RUNNING: &str = r#"#!/bin/bash
set -e
echo "Installing the kernel"
sleep 0.3
sudo -u azureuser -i << 'END'
echo "Building wheels"
until [ -e /run/gate-2 ]; do sleep 0.1; done
END
"#;

/// 10,000 steps, failed ones among them, 100 MiB of output, and all of it hostile.
fn hostile() -> String {
    let mut script = String::from("#!/bin/bash\n# </script><script>alert(1)</script> ]]> <!-- \"' \u{202e} \u{1}\n");
    script +=
        "printf '</pre><script>alert(1)</script>\\e[31;44m<x-y onclick=\"a\">\\e]8;;javascript:1\\a\\0\\x9b\\xff\\n'\n";
    script += "false '</code></pre><script>alert(1)</script>'\n";
    script += "head -c 100M /dev/zero\n";
    script += "for i in {1..3000}; do printf '\\e[%d;%dm<b>\\e[500C&\"\\r' $((i % 110)) $((i % 8 + 30)); done; echo\n";
    for step in 0..10_000 {
        script += &format!(": '</script><script>alert({step})</script>'\n");
    }
    script + "false '</title><svg onload=alert(1)>'\nexit 3\n"
}

struct Stage<'a> {
    bench: Bench,
    folder: &'a Path,
    scenes: Vec<Scene>,
}

/// Plays all of them and returns their pages, copied into `folder`.
pub fn play(folder: &Path) -> Vec<Scene> {
    let mut stage = Stage { bench: Bench::new(), folder, scenes: Vec::new() };
    stage.act("success", SUCCESS, 0);
    stage.keep("success", &["Creation script succeeded", NAME]);
    stage.act("failure", FAILURE, 127);
    stage.keep(
        "failure",
        &[
            "Creation script failed (exit code 127)",
            "conda create --yes --name vision",
            "line 9 (line 4 of the azureuser block)",
            "conda: command not found",
            "Install conda before line 9",
        ],
    );
    stage.act("timeout", TIMEOUT, 124);
    stage.keep(
        "timeout",
        &["Creation script timed out", "sleep 600", "line 10", "timeout longer than 3s", "Waiting for the server"],
    );
    stage.act("hostile", &hostile(), 3);
    stage.keep("hostile", &["Creation script failed (exit code 3)"]);
    stage.outage();
    stage.running();
    stage.lists();
    stage.scenes
}

impl Stage<'_> {
    fn call(&self, name: &str, script: &str) -> Call {
        let timeout = if script == TIMEOUT { "3s" } else { "15m" };
        // A file of its own each time: the machine's cache knows nothing of what is changed behind the share.
        let path = format!("Users/admin/{name}.sh");
        let file = self.bench.share.backing().join(&path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, script).expect("a script");
        let arguments = "'the vision team' --gpu";
        let creation = json!({
            "scriptSource": "workspaceStorage", "scriptData": path, "scriptArguments": arguments, "timeout": timeout,
        });
        let request = json!({"setupScripts": {"scripts": {"creationScript": creation}}});
        self.bench.room.write("/root/request.json", request.to_string(), 0o600);
        let mut words = vec!["ci-setup-agent", "run", "/root/request.json", "--rerun"];
        words.extend(["--resource-group", "vision-rg", "--workspace", "vision-ws", "--name", NAME]);
        words.extend(["--grace", "1s", "--flush-wait", if script == OUTAGE { "1s" } else { "30s" }]);
        if pictures().is_none() {
            return self.bench.room.call(words.into_iter().map(str::to_owned));
        }
        // On a terminal, of which everything is kept.
        let command = format!("stty cols 100 rows 24; exec {}", words.join(" "));
        self.bench.room.call(["script", "-qefc", &command, "/dev/null"]).env("TERM", "xterm-256color")
    }

    fn act(&self, name: &str, script: &str, code: i32) {
        super::until_recorded(&self.bench.room, || {
            let ran = self.call(name, script).run();
            assert_eq!(ran.code, code, "{name}: {} {}", ran.stdout, ran.stderr);
            if name != "hostile" {
                keep_terminal(name, &ran.bytes);
            }
        });
    }

    /// A file of the newest run there.
    fn on_share(&self, name: &str) -> Option<Vec<u8>> {
        let runs = fs::read_dir(self.bench.share.backing().join("Logs").join(NAME).join("creation")).ok()?;
        let newest = runs.flatten().map(|run| run.path()).max()?;
        fs::read(newest.join(name)).ok()
    }

    /// Copies the newest run's page as the share has it now.
    fn keep(&mut self, name: &'static str, words: &'static [&'static str]) {
        let page = self.on_share(DETAILS).expect("a page on the share");
        self.add(name, &page, words);
    }

    fn add(&mut self, name: &'static str, page: &[u8], words: &'static [&'static str]) {
        let path = self.folder.join(format!("{name}.html"));
        fs::write(&path, page).expect("a page");
        self.scenes.push(Scene { name, page: path, words });
    }

    fn outage(&mut self) {
        let agent = self.call("outage", OUTAGE).spawn();
        wait_until("its beginning", || {
            let text = self.on_share("output.log").unwrap_or_default();
            if text == b"first part\n" { Ok(()) } else { Err(agent.stderr()) }
        });
        self.bench.share.fault(Fault::Error(Errno::EIO), Ops::WRITE);
        self.bench.room.write("/run/gate", "", 0o600);
        let ran = agent.wait();
        assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
        keep_terminal("outage", &ran.bytes);
        let page = fs::read(self.bench.folder().join(DETAILS)).expect("a page here");
        self.add("outage", &page, &["Creation script succeeded", "the copy is behind", "ci-setup-agent sync"]);
        self.bench.share.heal();
        self.bench.wait_until_nobody_records();
        assert_eq!(self.bench.sync().code, 0);
        // `sync` brings the page as well.
        self.keep("synced", &["Creation script succeeded"]);
    }

    fn running(&mut self) {
        let agent = self.call("running", RUNNING).spawn();
        wait_until("the page of a run that is at work", || {
            let page = self.on_share(DETAILS).map(|page| String::from_utf8(page).expect("UTF-8"));
            page.filter(|page| page.contains("http-equiv=\"refresh\"")).ok_or_else(|| agent.stderr())
        });
        if pictures().is_some() {
            // The next one, a minute later, has more to show.
            wait_until("the page a minute later", || {
                let page = self.on_share(DETAILS).unwrap_or_default();
                if String::from_utf8_lossy(&page).contains("Building wheels\n") { Ok(()) } else { Err(page.len()) }
            });
            keep_terminal("running", agent.stdout().as_bytes());
        }
        self.keep("running", &["Creation script is running", "left until its timeout"]);
        self.bench.room.write("/run/gate-2", "", 0o600);
        let ran = agent.wait();
        assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
    }

    fn lists(&mut self) {
        let folder = self.bench.share.backing().join("Logs").join(NAME);
        let there = fs::read(folder.join(INDEX)).expect("a list there");
        let here = fs::read(self.bench.room.path(format!("{STATE}/{INDEX}"))).expect("a list here");
        let text = String::from_utf8(there.clone()).expect("UTF-8");
        let targets = text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let pages: Vec<&str> = targets.filter(|page| page.ends_with(DETAILS)).collect();
        assert!(pages.len() >= 6, "{pages:?}");
        for page in pages {
            assert!(folder.join(page).exists(), "{page}");
        }
        self.add("list-there", &there, &["Setup scripts of ci-2", "timed out", "failed", "succeeded"]);
        self.add("list-here", &here, &["Setup scripts of ci-2"]);
    }
}

fn keep_terminal(name: &str, bytes: &[u8]) {
    if let Some(pictures) = pictures() {
        fs::write(pictures.join(format!("terminal-{name}.raw")), bytes).expect("a file");
    }
}

/// Leaves a picture of each page, where somebody wants them.
pub fn keep_pictures(browser: &mut Browser, scenes: &[Scene]) {
    let Some(folder) = pictures() else { return };
    for scene in scenes {
        fs::copy(&scene.page, folder.join(format!("{}.html", scene.name))).expect("a copy");
        for (kind, look) in [("", WIDE), ("-dark", Look { scheme: "dark", ..WIDE }), ("-narrow", NARROW)] {
            browser.open(&scene.page, look);
            fs::write(folder.join(format!("page-{}{kind}.png", scene.name)), browser.picture()).expect("a picture");
        }
    }
}
