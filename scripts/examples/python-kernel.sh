#!/bin/bash
# A Python environment with a Jupyter kernel, for the instance's user.
#
#   scriptArguments: NAME PYTHON-VERSION PACKAGE…      for example  vision 3.11 torch pandas
set -euo pipefail

# A block sees no arguments of the script, so they go along as the inner bash's own: quoted as they are.
sudo -u "$CI_LOCAL_UBUNTU_USER" -i bash -euo pipefail -s -- "$@" <<'EOF'
name=${1:?the name of the environment}
version=${2:?the version of Python}
shift 2

# The block's shell is none of a user's login: conda is on the instance, and not on its path.
source /anaconda/etc/profile.d/conda.sh

if ! conda env list | awk '{print $1}' | grep -qx "$name"; then
    # < /dev/null: what asks a question would otherwise read the rest of this block as the answer.
    conda create --yes --quiet --name "$name" "python=$version" < /dev/null
fi
conda activate "$name"
pip install --quiet ipykernel "$@" < /dev/null
python -m ipykernel install --user --name "$name" --display-name "Python ($name)"
echo "kernel: Python ($name)"
EOF
