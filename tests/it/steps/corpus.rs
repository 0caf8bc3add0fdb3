//! Scripts on which bash's behaviour could differ if somebody watched it clumsily.
//!
//! Beginnings × bodies. Bodies print how pids relate, never pids; `"$BASH"` is the bash under test.

/// What goes before a body: options, traps, redirections.
const BEGINNINGS: [&str; 14] = [
    "",
    "set -euo pipefail\n",
    "set -x\n",
    "set -v\n",
    "set -u\nset -T\ntrap 'echo \"D $LINENO $BASH_COMMAND $?\"' DEBUG\n",
    "set -E\ntrap 'echo \"E $LINENO $? $BASH_COMMAND\"' ERR\n",
    "trap 'echo \"X $? $_\"' EXIT\n",
    "set -o posix\n",
    "shopt -s extdebug inherit_errexit lastpipe expand_aliases\nalias ll='echo aliased'\n",
    "exec 3>&1 4>&2\nexec 2>&1\n",
    "set -a -h -b\nPS4='+ $LINENO $? '\nset -x\n",
    "exec > >(cat) 2>&1\n",
    "trap 'echo R $? ${FUNCNAME[0]-none}' RETURN\nset -T\n",
    "ulimit -n 64\numask 077\nIFS=:\n",
];

/// What is run.
const BODIES: [&str; 40] = [
    "true; echo $?; false || echo \"or $?\"; ! true || echo no; echo $?\n",
    "echo one two three; echo \"$_\"; : a b; echo \"$_\"; /bin/echo x y; echo \"$_\"\n",
    "echo \"$0\" \"${BASH_SOURCE[0]}\" \"$#\" \"$*\" \"${#BASH_SOURCE[@]}\" | sed 's|/.*/||g'\n",
    "echo $LINENO\necho $LINENO; f() { echo $LINENO\necho ${FUNCNAME[@]} ${BASH_LINENO[@]}; }\nf\n\necho $LINENO\n",
    "true | false | (exit 3) | true || :\necho \"${PIPESTATUS[@]}\"; echo \"${PIPESTATUS[@]}\"\n",
    "f() { local x=1; return 3; }; f || echo \"f $?\"; g() { f || return 4; }; g || echo $?\n",
    "echo $-; shopt -p | md5sum; set -o | md5sum; echo $SHELLOPTS $BASHOPTS\n",
    "( echo sub $BASH_SUBSHELL; exit 5 ) || echo $?; [ $$ = $BASHPID ] && echo same; ( [ $$ = $BASHPID ] || echo other )\n",
    "x=$(echo a; exit 2) || echo \"$? $x\"; y=`echo b`; echo $y $(( 1 + 2 )) ${z:-none}\n",
    "while read -r a b; do echo \"$b $a\"; done <<EOF\n1 2\n3 $HOME\nEOF\n",
    "cat <<'A' - <<-B\nraw $x\nA\n\ttabs $((1+1))\n\tB\n",
    "for i in 1 2 3; do [ $i = 2 ] && continue; echo $i; done; case abc in a*) echo a;; *) echo b;; esac\n",
    "sleep 0.01 & p=$!; wait $p; echo $? $([ -n \"$p\" ] && echo has); jobs\n",
    "kill -0 $$ && echo alive; (kill -TERM $BASHPID; echo no); echo $? 2>/dev/null || :\n",
    "trap 'echo USR1' USR1; kill -USR1 $$; echo after; trap; trap - USR1\n",
    "eval 'echo e; (exit 4)' || echo $?; eval \"$(echo 'echo twice')\"\n",
    "t=./child; echo 'echo sourced $LINENO ${BASH_SOURCE[0]##*/}; return 6; echo no' | sed 's/##.*}/:+set}/' > $t; . $t || echo $?; rm -f $t\n",
    "\"$BASH\" -c 'echo $0 $1 $BASH_EXECUTION_STRING; exit 7' zero one || echo $?\n",
    "echo 'echo stdin $LINENO\nread line; echo \"got $line\"\nnext' | \"$BASH\" || echo $?\n",
    "\"$BASH\" --norc -s a b <<'EOF'\necho $1 $2 $LINENO\ncat\nrest of the text\nEOF\n",
    "exec 5<> /dev/null; ls /proc/self/fd | wc -l; exec 5>&-\n",
    "nosuchcommand 2>/dev/null || echo $?; /nonexistent 2>/dev/null || echo $?; /etc/passwd 2>/dev/null || echo $?\n",
    "echo ${!BASH*}; compgen -v | grep -v -e '^_' -e RANDOM -e SECONDS | md5sum; export -p | grep -v -e PWD -e '_=' | md5sum\n",
    "env -i \"$BASH\" -c 'env | grep -v -e ^_ -e PWD | sort; ulimit -n; umask'\n",
    "declare -A m=([a]=1 [b]=2); echo ${m[a]} ${#m[@]}; arr=(x y z); echo ${arr[@]:1}; unset 'arr[0]'; echo ${!arr[@]}\n",
    "printf '%s|' a b; printf -v v %05d 42; echo $v; echo -e 'a\\tb'; echo $'q\\x41'\n",
    "coproc cat; echo hi >&${COPROC[1]}; read -r l <&${COPROC[0]}; echo $l; eval \"exec ${COPROC[1]}>&-\"\n",
    "diff <(echo a) <(echo b) || echo $?; tee >(cat >/dev/null) <<< here\n",
    "set -- \"a b\" c; shift; echo $1; getopts x: o -x 1; echo $o $OPTARG; let n=5-5 || echo zero; ((n++)) || echo n $n\n",
    "ll again 2>/dev/null || echo no alias\n",
    "\"$BASH\" -r -c 'cd / 2>/dev/null || echo restricted'; \"$BASH\" --posix -c 'echo $SHELLOPTS'\n",
    "[[ abc =~ (b)(c) ]] && echo ${BASH_REMATCH[@]}; [[ -z '' && ! -e /nope ]] && echo ok; test 1 -lt 2 && echo lt\n",
    "f() { echo in; exit 9; }; f; echo never\n",
    "exec /bin/echo replaced\n",
    "exec \"$BASH\" -c 'echo new $LINENO; exit 3'\n",
    "echo $((1/0)); echo after $?\n",
    "echo ${nope?message}; echo after\n",
    "echo $RANDOMX; readonly r=1; r=2; echo after $?\n",
    "if true; then echo unfinished\n",
    "kill -KILL $$\necho never\n",
];

/// All scripts, each with its name.
pub fn scripts() -> Vec<(String, String)> {
    let mut scripts = Vec::new();
    for (first, beginning) in BEGINNINGS.iter().enumerate() {
        for (second, body) in BODIES.iter().enumerate() {
            // Something before and after, so that `$_`, `$?` and line numbers have neighbours.
            scripts.push((
                format!("{first}.{second}"),
                format!("#!/bin/bash\n{beginning}# {second}\necho begin; (exit 2) || :\n{body}echo \"end $? $_\"\n"),
            ));
        }
    }
    scripts
}
