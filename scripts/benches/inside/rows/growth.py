"""6: how the cost grows with what has piled up: runs, processes, output, agents."""

import os
import shutil
import subprocess
import time

import contestants as all_of
from measure import next_dead, run, start

NOTHING = ":\n"


def measure(tell, effort):
    agent = all_of.Agent("ci-setup-agent", "--steps", "off")
    agent.prepare(NOTHING)
    run(agent.stages(), agent.output)
    with_runs(tell, effort, agent)
    agent.clean()
    agent.prepare(NOTHING)
    with_processes(tell, effort, agent)
    with_agents(tell, effort)


def with_runs(tell, effort, agent):
    runs = f"{agent.state}/runs"
    template = f"{runs}/{os.listdir(runs)[0]}"
    made = 1
    for count in (1, 100, 10_000) if effort.is_full else (1, 100):
        while made < count:
            # An hour apart, in the past.
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(1_500_000_000 + 3600 * made))
            shutil.copytree(template, f"{runs}/creation-{stamp}", copy_function=os.link)
            made += 1
        for _ in range(effort.rounds(7)):
            tell(f"{count:,} runs kept", agent.name, [run(agent.stages(), agent.output).wall * 1e3], "ms")


def with_processes(tell, effort, agent):
    for count in (1, 1_000, 10_000) if effort.is_full else (1, 1_000):
        script = "exec perl -e '$| = 1; $SIG{CHLD} = q(IGNORE); for (1 .. shift) { fork or do { sleep 1000; exit } } print qq(ready\\n); sleep 1000' \"$0\""
        crowd = subprocess.Popen(["setsid", "bash", "-c", script, str(count)], stdout=subprocess.PIPE)
        crowd.stdout.readline()
        for _ in range(effort.rounds(7)):
            # Not `run`: it waits until no child is left, and these are.
            began = time.monotonic()
            (pid,) = start(agent.stages(), agent.output)
            os.waitpid(pid, 0)
            tell(f"{count:,} processes beside it", agent.name, [(time.monotonic() - began) * 1e3], "ms")
            time.sleep(0.3)
        os.killpg(os.getpgid(crowd.pid), 9)
        crowd.wait()
        while next_dead():
            pass


def with_agents(tell, effort):
    for count in (1, 10, 100) if effort.is_full else (1, 10):
        agents = [
            all_of.Agent(
                "ci-setup-agent", "--steps", "off", state=f"{all_of.BENCH}/state-{index}", instance=f"ci-{index}"
            )
            for index in range(count)
        ]
        for agent in agents:
            agent.prepare("for i in {1..100}; do echo $i; done\n")
        for _ in range(effort.rounds(3)):
            began = time.monotonic()
            for pid in [start(agent.stages(), agent.output)[0] for agent in agents]:
                _, status = os.waitpid(pid, 0)
                assert status == 0, status
            tell(
                f"{count} agents at once on one share, for each",
                "ci-setup-agent",
                [(time.monotonic() - began) / count * 1e3],
                "ms",
            )
        while next_dead():
            pass
        for agent in agents:
            shutil.rmtree(agent.state, ignore_errors=True)
