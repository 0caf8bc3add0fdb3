# Read by bash before a script (BASH_ENV): a DEBUG trap that appends a line of numbers before each simple command.
#
#   H PID TIME KIND                                     a bash has read this: of a script, a string (-c), an input
#   C PID TIME NUMBER LINE STATUS PIPE SOURCES SUBSHELL WHAT    it is about to execute a command; see entry.rs
#
# The script is to notice as little as can be: that is the reason for every oddity here.
# - `for u in "$_"` keeps `$_`, and the last argument of each last command puts it back.
# - `2>&-` hides what `set -x` would show, and what fails: a file that is gone, a full disk.
# - `${X-}`, `||` and a status of 0 are for `set -u`, `set -e` and extdebug.
# - Arrays, because `set -a` would hand plain variables on to programs. No functions: they would be listed.
# - The file is the redirection's target by an index, which runs past the end of the array after so many lines;
#   a redirection that fails takes the trap away.
# - WHAT is q for a command that would show the trap, or whose effect would: then it goes before that command runs.
# - `((` and `[[` put their own names into messages; before bash 5.2 the last of the trap's commands does, too.
# - A login shell that sudo starts for `sudo -i bash` hands the hook on to that bash. Nobody else inherits it.
{
  for __ci_s in "$_"; do
    declare -a __ci_u __ci_n __ci_f __ci_p
    __ci_p=${BASH_ENV-} __ci_f=${BASH_SOURCE-}
    __ci_n=${BASH_EXECUTION_STRING+c} __ci_u=${BASH_EXECUTION_STRING-}
    unset -v BASH_ENV
    case $__ci_f:$__ci_n:$- in
      (*/script:*) __ci_n=script;;
      (*/block:c:*) __ci_n=string;;
      (*/block::*) __ci_n=input;;
      (*) __ci_n=;;
    esac
    case $__ci_n:${__ci_u//\\?/} in
      (string:*[';&|<>()`']*|string:*$'\n'*) ;;
      (string:bash|string:bash\ *|string:/bin/bash|string:/bin/bash\ *|string:/usr/bin/bash|string:/usr/bin/bash\ *)
        export BASH_ENV="$__ci_p"; __ci_n=;;
    esac
    __ci_f=${__ci_f%/*}/$EUID
    case $__ci_n in
      (?*)
      case ${PS4-} in (*[\`\(=]*) __ci_f=;; esac
      case ${BASH_XTRACEFD+x} in (x) __ci_f=;; esac
      \builtin printf 'H %s %s %s\n' "$$" "${EPOCHREALTIME-}" "$__ci_n" >>"$__ci_f" && {
      __ci_u= __ci_n=0 __ci_f[1]= __ci_p='\#'
      case $BASH_VERSION in (5.[01].*|4.*) __ci_n[1]=' case ${BASH_COMMAND-} in (\(\(*) ((1));; (\[\[*) [[ 1 ]]; esac;';; esac
      trap "for __ci_u in \"\$_\"; do __ci_p[2]=\$? __ci_p[3]=\${PIPESTATUS[-1]-} __ci_p[1]=o; case \$-:\${BASH_COMMAND-} in (*v*:*|*:set\\ *v*|*:*ulimit\\ *|*:*PS4*|*BASH_XTRACEFD*|*:*trap*) [[ \$- == *v* || \${BASH_COMMAND-} == @(set\\ *([-+a-z ])v*|ulimit\\ *-*f*[0-9]*|ulimit\\ *-*n*( )?([0-9])[0-9]|*PS4=*[\\\`\\(=]*|*BASH_XTRACEFD*|*trap*DEBUG*|trap|trap\\ -[pl]*|*[!a-zA-Z_]trap?([!a-zA-Z_]*)) ]] && __ci_p[1]=q;; (*:exit|*:exit\\ *) __ci_p[1]=e;; (*:\\[\\ *|*:test\\ *) __ci_p[1]=t;; esac; \\builtin printf 'C %s %s %s %s %s %s %s %s %s\\n%.0s' \"\$\$\" \"\${EPOCHREALTIME-}\" \"\${__ci_p@P}\" \"\${LINENO-}\" \"\${__ci_p[2]}\" \"\${__ci_p[3]}\" \"\${#BASH_SOURCE[@]}\" \"\${BASH_SUBSHELL-}\" \"\${__ci_p[1]}\" \"\$__ci_u\" >>\"\${__ci_f[__ci_n++>=@LIMIT@]}\" || __ci_p[1]=q; case \${__ci_p[1]} in (q) trap - DEBUG; \\builtin : \"\$__ci_u\"; esac;${__ci_n[1]-} done 2>&-" DEBUG; };;
    esac
    : "$__ci_s"
  done
} 2>&-
