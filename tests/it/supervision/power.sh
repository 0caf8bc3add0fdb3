# power.sh SYSCALLS FROM STEP COUNT COMMAND…: kills COMMAND and all processes of the agent at the Nth of
# those system calls, N = FROM, FROM + STEP, …, then runs it again; see power.rs.
syscalls=$1 from=$2 step=$3 count=$4
shift 4
state=/var/lib/ci-setup-agent
for (( i = 0; i < count; i++ )); do
    point=$(( from + i * step ))
    rm -rf "$state" /root/executions
    # strace counts in each process for itself; whoever gets there first takes all others along.
    setsid strace -f -qq -o /dev/null -e "trace=$syscalls" -e "inject=$syscalls:signal=KILL:when=$point" "$@" > /dev/null 2>&1 &
    tracer=$!
    wait "$tracer"
    for comm in /proc/[0-9]*/comm; do
        read -r name < "$comm" 2> /dev/null || continue
        pid=${comm//[!0-9]/}
        [[ $name == ci-setup* ]] && kill -9 "$pid" 2> /dev/null
    done
    "$@" > /root/again.log 2>&1
    code=$?
    executions=$(cat /root/executions 2> /dev/null | wc -l)
    last=$(ls -t "$state"/runs | head -1)
    word=$(sed -n 's/^  "state": "\(.*\)",$/\1/p' "$state/runs/$last/outcome.json")
    echo "$point $executions $code ${word:-unreadable}"
done
