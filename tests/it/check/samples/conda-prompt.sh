#!/bin/bash
set -e
sudo -u azureuser -i <<'EOF'
source activate azureml_py38
conda install pytorch torchvision -c pytorch
pip install -r requirements.txt
EOF
