# power.sh SYSCALLS FROM STEP COUNT COMMAND…: kills COMMAND and all processes of the agent at the Nth of
# those system calls, N = FROM, FROM + STEP, …, then runs it again; see power.rs. With `moment` for
# SYSCALLS it kills them at a moment of the first 120 ms, the next one 0.8 ms later.
syscalls=$1 from=$2 step=$3 count=$4
shift 4
state=/var/lib/ci-setup-agent
for (( i = 0; i < count; i++ )); do
    point=$(( from + i * step ))
    rm -rf "$state" /root/executions
    if [[ $syscalls == moment ]]; then
        "$@" > /dev/null 2>&1 &
        first=$!
        printf -v wait '0.%06d' $(( point % 150 * 800 + RANDOM % 800 ))
        sleep "$wait"
    else
        # strace counts in each process for itself; whoever gets there first takes all others along.
        setsid strace -f -qq -o /dev/null -e "trace=$syscalls" -e "inject=$syscalls:signal=KILL:when=$point" \
            "$@" > /dev/null 2>&1 &
        first=$!
        wait "$first"
    fi
    pids=()
    for comm in /proc/[0-9]*/comm; do
        read -r name < "$comm" 2> /dev/null || continue
        [[ $name == ci-setup* ]] && pids+=("${comm//[!0-9]/}")
    done
    (( ${#pids[@]} )) && kill -9 "${pids[@]}"
    wait "$first"
    "$@" > /root/again.log 2>&1
    code=$?
    executions=$(cat /root/executions 2> /dev/null | wc -l)
    last=$(ls -t "$state"/runs | head -1)
    word=$(sed -n 's/^  "state": "\(.*\)",$/\1/p' "$state/runs/$last/outcome.json")
    echo "$point $executions $code ${word:-unreadable}"
done 2> /root/power.log
