"""Who is measured: the agent, what people write by hand, and the programs that others have for such scripts.

Each makes of a script the pipeline that runs it, and says what it cannot do.
"""

import base64
import glob
import json
import os
import shutil
import sys

from measure import quietly

BENCH = "/bench"
HERE = os.path.dirname(__file__)
SCRIPT = f"{BENCH}/script.sh"
SHARE = f"{BENCH}/share"
STATE = f"{BENCH}/state"
SPOOL = f"{BENCH}/spool"


class Contestant:
    """One way to run a script: its name, the names of its processes, and where the script's output goes."""

    name = ""
    processes = ()
    output = SPOOL
    environment = {}
    has_timeout = True
    grace = 0  # seconds
    is_slow = False  # one that takes seconds for nothing

    def set_up(self):
        """What is done once."""

    def prepare(self, script, timeout="15m"):
        """Puts the script where it belongs."""
        with open(SCRIPT, "w") as file:
            file.write(script)

    def stages(self, timeout="15m"):
        """The pipeline."""
        raise NotImplementedError

    def clean(self):
        """Removes what was kept."""
        for path in (SPOOL, f"{SHARE}/log"):
            if os.path.exists(path):
                os.unlink(path)


class Bare(Contestant):
    """The limit: nothing but the script."""

    name = "bash script > file"
    has_timeout = False

    def stages(self, timeout="15m"):
        return [["bash", SCRIPT]]


class Timeout(Contestant):
    name = "timeout"
    processes = ("timeout",)
    grace = 1

    def stages(self, timeout="15m"):
        return [["timeout", "-k", "1", timeout, "bash", SCRIPT]]


class Tee(Contestant):
    """What people script by hand: `timeout 15m bash script 2>&1 | tee spool > share`."""

    name = "timeout \\| tee"
    processes = ("timeout", "tee")
    output = f"{SHARE}/log"
    grace = 1

    def stages(self, timeout="15m"):
        return [["timeout", "-k", "1", timeout, "bash", SCRIPT], ["tee", SPOOL]]


class Agent(Contestant):
    """The agent as its own service calls it."""

    name = "ci-setup-agent"
    processes = ("ci-setup",)
    output = "/dev/null"
    grace = 1

    def __init__(self, name="ci-setup-agent", *options, share=SHARE, state=STATE, instance="ci-1"):
        self.name, self.options, self.share, self.state, self.instance = name, options, share, state, instance

    def prepare(self, script, timeout="15m"):
        data = base64.b64encode(script.encode()).decode()
        creation = {"scriptSource": "inline", "scriptData": data, "timeout": timeout}
        os.makedirs(f"{self.share}/Users", exist_ok=True)
        # As the service mounts it: everybody may write.
        os.chmod(self.share, 0o777)
        os.makedirs(self.state, mode=0o700, exist_ok=True)
        with open(f"{self.state}.json", "w") as file:
            json.dump({"setupScripts": {"scripts": {"creationScript": creation}}}, file)
        os.chmod(f"{self.state}.json", 0o600)

    def stages(self, timeout="15m"):
        words = ["ci-setup-agent", "run", f"{self.state}.json", "--rerun", "--quiet", "--grace", "1s"]
        words += ["--resource-group", "rg", "--workspace", "wks", "--name", self.instance]
        return [[*words, "--share", self.share, "--state", self.state, *self.options]]

    def outcome(self):
        """The newest run's."""
        newest = max(glob.glob(f"{self.state}/runs/*/outcome.json"), key=os.path.getmtime)
        with open(newest) as file:
            return json.load(file)

    def clean(self):
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(f"{self.share}/Logs", ignore_errors=True)


class SystemdRun(Contestant):
    name = "systemd-run"
    processes = ("systemd",)
    grace = 1

    def stages(self, timeout="15m"):
        words = [
            "systemd-run",
            "--wait",
            "--pipe",
            "--collect",
            "--quiet",
            "--property=TimeoutStopSec=1s",
            "--property=TasksMax=infinity",
        ]
        return [[*words, f"--property=RuntimeMaxSec={timeout}", "bash", SCRIPT]]


class Google(Contestant):
    """google-guest-agent's runner of startup scripts. It asks a metadata server for them."""

    name = "google"
    processes = ("google_metadata",)
    has_timeout = False

    def set_up(self):
        quietly("ip", "address", "replace", "169.254.169.254/32", "dev", "lo")
        with open("/etc/hosts", "a") as hosts:
            hosts.write("169.254.169.254 metadata.google.internal metadata\n")
        quietly("systemd-run", "--quiet", "--unit=metadata", sys.executable, f"{HERE}/metadata.py", SCRIPT)
        quietly(
            "bash",
            "-c",
            "for i in {1..100}; do (: < /dev/tcp/169.254.169.254/80) 2> /dev/null && exit; sleep 0.1; done; exit 1",
        )

    def stages(self, timeout="15m"):
        return [["google_metadata_script_runner", "startup"]]


class CloudInit(Contestant):
    """cloud-init's module for scripts of users, on an instance that cloud-init knows."""

    name = "cloud-init"
    processes = ("cloud-init", "tee")
    has_timeout = False
    is_slow = True

    def set_up(self):
        seed = "/var/lib/cloud/seed/nocloud"
        os.makedirs(seed, exist_ok=True)
        for name, text in (("meta-data", "instance-id: bench\n"), ("user-data", "#cloud-config\n{}\n")):
            with open(f"{seed}/{name}", "w") as file:
                file.write(text)
        with open("/etc/cloud/cloud.cfg.d/99-bench.cfg", "w") as file:
            file.write("datasource_list: [NoCloud]\nnetwork: {config: disabled}\n")
        quietly("cloud-init", "init", "--local")

    def prepare(self, script, timeout="15m"):
        folder = "/var/lib/cloud/instance/scripts"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/script", "w") as file:
            file.write("#!/bin/bash\n" + script)
        os.chmod(f"{folder}/script", 0o700)

    def stages(self, timeout="15m"):
        return [["cloud-init", "single", "--name", "scripts-user", "--frequency", "always"]]

    def clean(self):
        super().clean()
        if os.path.exists("/var/log/cloud-init-output.log"):
            os.unlink("/var/log/cloud-init-output.log")


class Waagent(Contestant):
    """The Azure Linux agent's way to run what an extension brings: the function that waits for it."""

    name = "waagent"
    processes = ("python3",)
    is_slow = True

    def stages(self, timeout="15m"):
        return [[sys.executable, f"{HERE}/waagent.py", SCRIPT, SPOOL, timeout]]


class Conmon(Contestant):
    """conmon, which holds the output of containers, with a runtime that starts the script and no container."""

    name = "conmon"
    processes = ("conmon",)
    has_timeout = False

    def prepare(self, script, timeout="15m"):
        super().prepare(script)
        for folder in ("exits", "sockets"):
            os.makedirs(f"{BENCH}/{folder}", exist_ok=True)

    def stages(self, timeout="15m"):
        words = ["conmon", "--api-version", "1", "-c", "bench", "-u", "bench", "-n", "bench", "-r", f"{HERE}/runtime"]
        words += ["-b", BENCH, "-p", f"{BENCH}/conmon.pid", "-l", f"k8s-file:{SPOOL}", "--sync", "--log-level", "error"]
        return [[*words, "--exit-dir", f"{BENCH}/exits", "--socket-dir-path", f"{BENCH}/sockets"]]
