"""A throw-away machine: Debian, booted by systemd in a container, with the agent's package and its peers."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = HERE.parent
PATIENCE = 120  # seconds for a boot


def fail(message, hint):
    sys.exit(f"error: {message}\nhint: {hint}")


def told(*words, **more):
    """What a command prints, as one line."""
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **more).stdout.strip()


@contextlib.contextmanager
def machine(package, faultfs):
    """Boots one, with `package` installed, and yields a way to start programs in it."""
    image = told(SCRIPTS / "image", "bookworm")
    layer = told(HERE / "peers", image)
    folder = pathlib.Path(
        tempfile.mkdtemp(prefix="ci-setup-agent-bench-", dir=os.environ.get("BENCH_SCRATCH", "/var/tmp"))
    )
    cgroup = pathlib.Path(told("findmnt", "--noheadings", "--first-only", "--types", "cgroup2", "--output", "TARGET"))
    cgroup = cgroup / "ci-setup-agent-bench" / folder.name
    keeper = None
    try:
        for part in ("upper", "work", "root", "bench/benches"):
            (folder / part).mkdir(parents=True)
        shutil.copytree(HERE, folder / "bench/benches", dirs_exist_ok=True)
        shutil.copy(faultfs, folder / "bench/faultfs")
        shutil.copy(package, folder / "upper/agent.deb")
        cgroup.mkdir(parents=True)
        keeper = boot(folder, f"{layer}:{image}", cgroup)
        door = wait_until_booted(keeper, folder, cgroup)
        yield lambda *words, **more: subprocess.Popen([*door, *words], **more)
    finally:
        if keeper:
            # With process 1 the kernel ends everything inside, and the mounts.
            for child in children(keeper.pid):
                os.kill(child, signal.SIGKILL)
            keeper.wait()
        remove_cgroup(cgroup)
        shutil.rmtree(folder, ignore_errors=True)


# nspawn is process 1 of a namespace, so that nothing of the machine outlives it. It leaves a folder for each machine
# in /run/systemd/nspawn. /bench is the disk itself: an overlay would cost each of the measured as much as it costs.
BOOT = """
echo 0 > "$3/cgroup.procs"
mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
chroot "$1/root" sh -c 'dpkg -i /agent.deb && rm /agent.deb'
exec systemd-nspawn --directory "$1/root" --boot --register=no --keep-unit --machine=bench --hostname=ci-1 \
    --console=read-only --private-network --resolv-conf=off --timezone=off --link-journal=no --capability=all \
    --drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE "--bind=$1/bench:/bench"
"""


def boot(folder, layers, cgroup):
    words = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private"]
    words += ["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-euc", BOOT, "boot", folder, layers, cgroup]
    surroundings = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "SYSTEMD_SECCOMP": "0",
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    }
    with open(folder / "console.log", "w") as console:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=surroundings)


def wait_until_booted(keeper, folder, cgroup):
    """Returns the words that lead inside, into the cgroup of the service that stands for Azure's agent."""
    until = time.monotonic() + PATIENCE
    procs = cgroup / "payload/system.slice/walinuxagent.service/cgroup.procs"
    while time.monotonic() < until and keeper.poll() is None:
        leader = next((inner for nspawn in children(keeper.pid) for inner in children(nspawn) if is_first(inner)), None)
        if leader and procs.exists():
            enter = ["nsenter", "--target", str(leader), "--mount", "--uts", "--ipc", "--net", "--cgroup"]
            enter += ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
            # The first nsenter stays outside, in our own cgroup; the second, one of the machine's processes, joins.
            door = [
                "nsenter",
                "--target",
                str(leader),
                "--pid",
                "sh",
                "-c",
                'echo 0 > "$0" && exec "$@"',
                str(procs),
                *enter,
            ]
            state = subprocess.run([*door, "systemctl", "is-system-running"], stdout=subprocess.PIPE, text=True)
            if state.stdout.strip() in ("running", "degraded"):
                return door
        time.sleep(0.1)
    print((folder / "console.log").read_text()[-3000:], file=sys.stderr)
    fail("the machine does not boot", "see its console above")


def children(pid):
    with contextlib.suppress(OSError):
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def is_first(pid):
    """Whether it is process 1 inside."""
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return any(line.startswith("NSpid:") and line.endswith("\t1") for line in status.splitlines())
    return False


def remove_cgroup(cgroup):
    for _ in range(100):
        for path in sorted(cgroup.rglob("*"), reverse=True):
            if path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()
        with contextlib.suppress(OSError):
            cgroup.rmdir()
        if not cgroup.exists():
            return
        time.sleep(0.1)
