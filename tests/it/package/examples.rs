//! The example scripts, on a machine without a network: what they need from outside is played by what is local.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{host, with_package};
use crate::support::{Machine, Place, SHARE, SUITES, binary_under_test};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/examples"))
}

fn document(name: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).expect("an example's request");
    serde_json::from_str(&text).expect("JSON")
}

/// Runs an example with its own request but for the arguments, twice, as a startup script would; returns what the second
/// run has printed.
fn run_twice(machine: &Machine, name: &str, arguments: &[&str]) -> String {
    let script = format!("{SHARE}/Users/admin/{name}.sh");
    machine.write(script, std::fs::read(folder().join(format!("{name}.sh"))).expect("an example"), 0o644);
    let mut request = document(name);
    for script in request["setupScripts"]["scripts"].as_object_mut().expect("scripts").values_mut() {
        script["scriptArguments"] = json!(arguments);
    }
    machine.write("/root/request.json", request.to_string(), 0o600);
    let words = "run --rerun --resource-group rg --workspace wsp --name ci-1 /root/request.json".split(' ');
    let call = || machine.run(["ci-setup-agent"].into_iter().chain(words.clone())).ok();
    call();
    call()
}

fn booted(suite: &str) -> Machine {
    let mut machine = with_package(suite);
    machine.boot();
    machine
}

/// Stands for conda and what comes with it: writes down how it was called.
const ANACONDA: &str = "
conda() { echo \"conda $*\" >> ~/calls; case $1 in env) echo 'base /anaconda'; grep -o '^conda create.*--name [a-z]*' ~/calls | sed 's/.* //' || true;; esac; }
pip() { echo \"pip $#: $*\" >> ~/calls; }
python() { echo \"python $*\" >> ~/calls; }
jupyter() { echo \"jupyter $*\"; }
";

#[test]
fn every_example_has_a_request_that_names_it() {
    let scripts = std::fs::read_dir(folder()).expect("the examples").flatten().map(|entry| entry.path());
    let names: Vec<String> = scripts
        .filter(|path| path.extension().is_some_and(|end| end == "sh"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let request = document(&name);
        ci_setup_agent::request::parse(request.to_string().as_bytes()).expect(&name);
        let expected = format!("Users/admin/{name}.sh");
        let scripts = request["setupScripts"]["scripts"].as_object().expect("scripts").values();
        assert!(scripts.into_iter().all(|script| script["scriptData"] == expected.as_str()), "{request}");
    }
}

#[test]
fn environment_variables_reach_login_shells_on_a_machine() {
    for suite in SUITES {
        let machine = booted(suite);
        run_twice(&machine, "environment-variables", &["TEAM=vision", "DATA_DIR=/home/azureuser/my data"]);
        let seen = machine.run(["su", "-", "azureuser", "-c", "echo $TEAM, $DATA_DIR"]).ok();
        assert_eq!(seen, "vision, /home/azureuser/my data\n", "{suite}");
        assert_eq!(machine.read("/etc/environment").expect("it").matches("TEAM=").count(), 1, "{suite}");
    }
}

#[test]
fn a_proxy_is_set_for_shells_and_apt_on_a_machine() {
    let machine = booted("bookworm");
    run_twice(&machine, "network-proxy", &["http://proxy.example.com:3128"]);
    let seen = machine.run(["su", "-", "azureuser", "-c", "echo $https_proxy"]).ok();
    assert_eq!(seen, "http://proxy.example.com:3128\n");
    let apt = machine.run(["apt-config", "dump", "Acquire::http::Proxy"]).ok();
    assert!(apt.contains("http://proxy.example.com:3128"), "{apt}");
    let environment = machine.read("/etc/environment").expect("it");
    assert_eq!(environment.lines().filter(|line| line.to_lowercase().contains("_proxy=")).count(), 6, "{environment}");
}

#[test]
fn data_is_mounted_at_every_start_of_a_machine() {
    for suite in SUITES {
        let mut machine = booted(suite);
        machine.write("/srv/my data/file", "here", 0o644);
        run_twice(&machine, "mount-data", &["none", "/srv/my data", "/data", "bind"]);
        assert_eq!(machine.run(["cat", "/data/file"]).ok(), "here", "{suite}");
        assert_eq!(machine.read("/etc/fstab").expect("it").matches("/data").count(), 1, "{suite}");
        machine.stop();
        machine.boot();
        assert_eq!(machine.run(["cat", "/data/file"]).ok(), "here", "{suite}");
    }
}

#[test]
fn packages_are_installed_from_a_repository_on_a_machine() {
    for suite in SUITES {
        let machine = booted(suite);
        let repository = "set -e; mkdir -p /srv/repo/tree/DEBIAN; cd /srv/repo; chmod -R 755 .
            printf 'Package: a-tool\\nVersion: 1\\nArchitecture: all\\nMaintainer: A <a@b.example>\\nDescription: a tool\\n' > tree/DEBIAN/control
            dpkg-deb -b tree a-tool.deb
            { cat tree/DEBIAN/control; echo Filename: ./a-tool.deb; echo Size: $(stat -c %s a-tool.deb)
              echo SHA256: $(sha256sum < a-tool.deb | cut -d' ' -f1); } > Packages
            rm -rf /etc/apt/sources.list.d/*; echo 'deb [trusted=yes] file:/srv/repo ./' > /etc/apt/sources.list";
        machine.bash(repository).ok();
        let second = run_twice(&machine, "install-packages", &["a-tool", "procps"]);
        assert_eq!(second, "everything is installed: a-tool procps\n", "{suite}");
        machine.run(["dpkg", "--status", "a-tool"]).ok();
    }
}

#[test]
fn an_environment_with_a_kernel_is_made_for_the_user_of_a_machine() {
    let machine = booted("bookworm");
    machine.write("/anaconda/etc/profile.d/conda.sh", ANACONDA, 0o644);
    run_twice(&machine, "python-kernel", &["vision", "3.11", "a package", "pandas"]);
    let calls = machine.read("/home/azureuser/calls").expect("conda was called as the user");
    assert_eq!(calls.matches("conda create --yes --quiet --name vision python=3.11").count(), 1, "{calls}");
    // Five words: the blank in the third did not cut it.
    assert!(calls.contains("pip 5: install --quiet ipykernel a package pandas\n"), "{calls}");
    assert!(calls.contains("python -m ipykernel install --user --name vision"), "{calls}");
}

#[test]
fn an_extension_goes_where_jupyterlab_of_the_machine_is() {
    let machine = booted("bookworm");
    machine.write("/anaconda/etc/profile.d/conda.sh", ANACONDA, 0o644);
    machine.bash("mkdir -p /anaconda/envs/azureml_py310_sdkv2").ok();
    let printed = run_twice(&machine, "jupyterlab-extension", &["jupyterlab-git"]);
    assert_eq!(printed, "jupyter labextension list\n");
    let calls = machine.read("/home/azureuser/calls").expect("conda was called as the user");
    assert!(calls.contains("conda activate azureml_py310_sdkv2\npip 3: install --quiet jupyterlab-git\n"), "{calls}");
}

#[test]
fn a_repository_is_cloned_in_a_rehearsal() {
    let scratch = tempfile::tempdir().expect("a folder");
    let repository = scratch.path().join("repo");
    let git = |arguments: &[&str]| {
        let names = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "init.defaultBranch=main"];
        host(Command::new("git").args(names).arg("-C").arg(scratch.path()).args(arguments));
    };
    git(&["init", "--quiet", "repo"]);
    git(&["-C", "repo", "commit", "--quiet", "--allow-empty", "-m", "the first"]);
    let url = format!("file://{}", repository.display());
    let script = folder().join("git-clone.sh");
    let mut rehearsal = Command::new(binary_under_test());
    rehearsal.arg("try").arg(script).args([&url, "notebooks", "Ada Lovelace", "ada@example.com"]);
    let printed = host(&mut rehearsal);
    assert!(printed.contains("the first"), "{printed}");
}
