#!/usr/bin/env bash
set -eu
REPOSITORY="$1"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/lib/common.sh"

su - azureuser -c "
  set -e
  mkdir -p ~/cloudfiles/code/repositories
  cd ~/cloudfiles/code/repositories
  test -d project || git clone --depth 1 $REPOSITORY project
"

sudo -u azureuser tee /home/azureuser/.condarc > /dev/null <<'YAML'
channels: [conda-forge]
YAML

for extension in ms-python.python ms-toolsai.jupyter; do
  sudo -u azureuser code-server --install-extension "$extension" || true
done
