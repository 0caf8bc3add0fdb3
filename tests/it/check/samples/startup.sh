#!/bin/bash
set -e
echo 'export MLFLOW_TRACKING_URI=azureml://here' >> /home/azureuser/.bashrc
grep -qxF 'umask 027' /etc/profile.d/mine.sh || echo 'umask 027' >> /etc/profile.d/mine.sh
date >> /var/log/starts.log
