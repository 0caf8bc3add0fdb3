"""Why others are ahead, where they are: how `row: what` begins, and one sentence."""

_RECORDS = (
    "they start the script and keep no account of it; the agent has on the disk that it began, before it begins, and how "
    "it ended, and a copy of both, of the script and of its output on the share, where it looks at them, before it returns"
)
_INTO_A_FILE = (
    "the script writes into a file itself, so nobody is there to follow, bound or copy it, and `echo x > /dev/stderr` in "
    "the script truncates what was written before"
)
_AT_ONCE = (
    "each line is a write on the share as soon as it comes: two or three orders of magnitude more operations than the share may "
    "be asked for, each of which the script waits for when the share is slow"
)

REASONS = (
    (
        "start: wall",
        _RECORDS
        + "; and systemd's scope and the kernel's probes wait for RCU grace periods, of up to 16 ms each here (below)",
    ),
    ("start: ", _RECORDS),
    (
        "output: ",
        _INTO_A_FILE
        + "; `waagent` looks at the files once a second and reports the first 3,200 bytes; where the pipeline "
        "is ahead, it wakes for each piece, and takes several times the processor time for that",
    ),
    ("visible: 1,000,000 lines", _AT_ONCE),
    (
        "visible: 2 lines a second",
        "each line is a write on the share; the agent holds a line back where two writes have been made within the second",
    ),
    (
        "deadline: 1 process: ",
        "the time of the agent includes its start, its records on the disk and the look at its copy on the share",
    ),
    ("deadline: SIGTERM", "by less than the time that a process takes to start"),
    (
        "deadline: ",
        "they return when the script's first process is dead and leave all the others alive: see the survivors",
    ),
    (
        "memory: ",
        "the agent is three processes of one program of 5 MiB, of which each holds what it uses; it does not grow with the output",
    ),
    (
        "size: installed",
        "theirs stand on libraries, or on Python, which other packages bring; this package needs nothing, not even a C library",
    ),
    ("size: program", "one task, and the libraries are elsewhere"),
    ("size: ", "it has more to get ready: a memory map and two tables of a larger program"),
)
