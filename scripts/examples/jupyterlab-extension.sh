#!/bin/bash
# Installs JupyterLab extensions into the environment that the instance's JupyterLab runs in.
#
#   scriptArguments: PACKAGE…           for example  jupyterlab-git jupyterlab-lsp
set -euo pipefail

# JupyterLab runs as the user, in an environment of its own whose name depends on the image.
sudo -u "$CI_LOCAL_UBUNTU_USER" -i bash -euo pipefail -s -- "$@" <<'EOF'
(( $# )) || { echo "name at least one extension" >&2; exit 2; }
source /anaconda/etc/profile.d/conda.sh
for environment in jupyter_env azureml_py310_sdkv2 azureml_py38; do
    if [[ -d /anaconda/envs/$environment ]]; then
        conda activate "$environment"
        pip install --quiet "$@" < /dev/null
        jupyter labextension list 2>&1
        exit
    fi
done
echo "there is no JupyterLab on this instance" >&2
exit 1
EOF

# Seen after JupyterLab has been started anew; an instance that is still being created starts it later anyway.
if systemctl is-active --quiet jupyter.service; then
    systemctl restart jupyter.service
fi
