#!/bin/bash
set -e
PROJECT=demo
sudo apt-get update
apt-get install git-lfs
read -p "Branch? " BRANCH
sudo -u azureuser bash <<'EOF'
git clone https://me:hunter22@github.com/owner/$PROJECT
cd $1
jupyter lab --no-browser &
ssh build-host make
EOF
sudo -u azureuser bash <<EOF
cd $HOME
EOF
reboot
