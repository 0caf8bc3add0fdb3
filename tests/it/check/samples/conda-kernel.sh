#!/bin/bash
set -eux

# Makes a conda environment and a Jupyter kernel of it. Arguments: name, Python's version.
NAME=${1:-analysis}
VERSION=${2:-3.10}

sudo -u azureuser -i NAME="$NAME" VERSION="$VERSION" bash <<'EOF'
set -euo pipefail
source /anaconda/etc/profile.d/conda.sh
conda create -y -n "$NAME" python="$VERSION" ipykernel
conda activate "$NAME"
python -m ipykernel install --user --name "$NAME" --display-name "Python ($NAME)"
EOF

echo "kernel $NAME is there"
