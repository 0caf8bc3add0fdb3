#!/bin/bash
# A setup script to try things with:  ci-setup-agent try scripts/examples/hello.sh world
set -euo pipefail

echo "Hello, ${1:-world}: this is $0"
echo "Running in $PWD for $CI_NAME, as the administrator."

# What belongs to the instance's user goes into a block. It starts in the user's home; the script's
# arguments are not visible there, the CI_* variables are.
sudo -u "$CI_LOCAL_UBUNTU_USER" -i <<'EOF'
set -e
echo "Now in $HOME, as ${USER}, still on $CI_NAME."
mkdir -p notebooks
echo "print('hello from $CI_NAME')" > notebooks/hello.py
ls notebooks
EOF

echo "Done."
