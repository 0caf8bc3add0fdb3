#!/bin/bash
# Mounts data, now and at every start.
#
#   scriptArguments: TYPE SOURCE FOLDER [OPTIONS]
#
# for example   cifs //account.file.core.windows.net/data /data credentials=/etc/data.credentials,uid=1000
#               nfs  account.blob.core.windows.net:/account/data /data vers=3,nolock
set -euo pipefail

type=${1:?the file system, such as cifs or nfs}
source=${2:?what to mount}
folder=${3:?where to mount it}
options=${4:-defaults}

mkdir -p "$folder"
# nofail: an instance whose data cannot be reached starts all the same. \040 is fstab's blank.
line="${source// /\\040} ${folder// /\\040} $type $options,nofail 0 0"
if ! grep -qxF -- "$line" /etc/fstab; then
    # What an earlier version of this request has put there goes.
    awk -v folder="${folder// /\\\\040}" '$2 != folder' /etc/fstab > /etc/fstab.new
    echo "$line" >> /etc/fstab.new
    mv /etc/fstab.new /etc/fstab
    systemctl daemon-reload
fi
if ! mountpoint --quiet "$folder"; then
    mount "$folder"
fi
findmnt "$folder"
