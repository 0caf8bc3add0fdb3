#!/bin/bash
# Installs Debian or Ubuntu packages.
#
#   scriptArguments: PACKAGE…           for example  htop tree libgomp1
#
# No lock of apt's has to be waited for here: ci-setup-agent sees to it, and to DEBIAN_FRONTEND.
set -euo pipefail

missing=()
for package in "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || missing+=("$package")
done
if (( ${#missing[@]} == 0 )); then
    echo "everything is installed: $*"
    exit
fi
apt-get update
apt-get install --yes --no-install-recommends "${missing[@]}"
