#!/bin/bash

set -e

# Installs a Python package in an environment of the instance.

sudo -u azureuser -i <<'EOF'

PACKAGE=numpy
ENVIRONMENT=azureml_py38

conda activate "$ENVIRONMENT"
pip install "$PACKAGE"
conda deactivate
EOF
