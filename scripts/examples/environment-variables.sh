#!/bin/bash
# Sets variables for everybody on the instance: login shells, cron jobs, and the setup scripts that follow.
#
#   scriptArguments: NAME=VALUE…        for example  TEAM=vision "DATA_DIR=/home/azureuser/my data"
set -euo pipefail

file=/etc/environment
for pair in "$@"; do
    name=${pair%%=*}
    [[ $pair == *=* && $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || { echo "not NAME=VALUE: $pair" >&2; exit 2; }
    # The file knows no escapes: a # would begin a comment, and a quote could not be told from the outer ones.
    [[ $pair != *[\"\#$'\n']* ]] || { echo "cannot be in $file: $pair" >&2; exit 2; }
    # Replaced, not added: the same script may run again.
    sed -i --follow-symlinks "/^$name=/d" "$file"
    echo "$name=\"${pair#*=}\"" >> "$file"
    echo "set $name"
done
