#!/bin/bash

set -e

# Installs a Python package in an environment of the instance.

sudo -u azureuser -i <<'EOF'
set -e
PACKAGE=numpy
ENVIRONMENT=azureml_py38

source /anaconda/etc/profile.d/conda.sh
conda activate "$ENVIRONMENT"
pip install "$PACKAGE"
conda deactivate
EOF
