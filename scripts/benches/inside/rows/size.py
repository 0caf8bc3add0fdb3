"""7: how large it is, and what its own start costs."""

import os

from measure import quietly, run, system_calls

PACKAGES = ("ci-setup-agent", "google-guest-agent", "cloud-init", "waagent", "conmon")


def measure(tell, effort):
    for package in PACKAGES:
        (kib,) = quietly("dpkg-query", "--show", "--showformat=${Installed-Size}", package).split()
        tell("installed size", package.replace("google-guest-agent", "google"), [int(kib) / 1024], "MiB")
    for name in ("ci-setup-agent", "google_metadata_script_runner", "conmon", "timeout"):
        path = quietly("sh", "-c", f"command -v {name}").strip()
        tell(
            "program",
            name.replace("_metadata_script_runner", ""),
            [os.path.getsize(os.path.realpath(path)) / 2**20],
            "MiB",
        )
    version = ["ci-setup-agent", "--version"], ["timeout", "--version"], ["conmon", "--version"]
    for words in version:
        tell("system calls of --version", words[0], [system_calls([words])["calls"]], "")
        for _ in range(effort.rounds(10)):
            tell("--version", words[0], [run([words]).wall * 1e3], "ms")
