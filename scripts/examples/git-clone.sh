#!/bin/bash
# Clones a git repository into the user's home, and says who commits there.
#
#   scriptArguments: URL FOLDER NAME EMAIL
#
# No token in the URL: it would be in the log on the share, where the whole workspace can read it.
set -euo pipefail

sudo -u "$CI_LOCAL_UBUNTU_USER" -i bash -euo pipefail -s -- "$@" <<'EOF'
url=${1:?the repository}
folder=${2:?where to clone it to, in the home folder}
git config --global user.name "${3:?a name}"
git config --global user.email "${4:?an address}"
# The file share is another user's, as git sees it.
git config --global --get-all safe.directory | grep -qx '\*' || git config --global --add safe.directory '*'

if [[ -d $folder/.git ]]; then
    # What somebody has changed there stays: only what is new comes in.
    git -C "$folder" fetch --quiet
    git -C "$folder" merge --ff-only --quiet || echo "left $folder as it is: it has changes of its own"
else
    GIT_TERMINAL_PROMPT=0 git clone --quiet "$url" "$folder"
fi
git -C "$folder" log --oneline --max-count=1
EOF
