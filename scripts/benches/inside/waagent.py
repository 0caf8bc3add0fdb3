"""Runs a script as waagent runs the command of an extension: `waagent.py SCRIPT SPOOL TIMEOUT`."""

import os
import subprocess
import sys

from azurelinuxagent.common.utils.extensionprocessutil import handle_process_completion

script, spool, timeout = sys.argv[1:]
seconds = int(timeout[:-1]) * {"s": 1, "m": 60}[timeout[-1]]
with open(spool, "w+b") as stdout, open(f"{spool}.err", "w+b") as stderr:
    command = f"bash {script}"
    process = subprocess.Popen(command, shell=True, stdout=stdout, stderr=stderr, preexec_fn=os.setsid)
    try:
        handle_process_completion(process, command, seconds, stdout, stderr, 1)
    except Exception as error:
        sys.exit(f"{type(error).__name__}")
