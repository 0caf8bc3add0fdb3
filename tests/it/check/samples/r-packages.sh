#!/bin/bash
set -o errexit -o pipefail -o nounset
add-apt-repository -y ppa:c2d4u.team/c2d4u4.0+
apt-get update -qq && apt-get install -qq -y r-cran-tidyverse
Rscript -e 'install.packages(c("arrow", "targets"), repos = "https://cloud.r-project.org", Ncpus = parallel::detectCores())'
sudo -u azureuser -i Rscript --vanilla - <<'R'
args <- commandArgs()
IRkernel::installspec(name = "ir", displayname = "R")
x <- c(1, 2); if (x[1] > 0) { print("ok $1") }
R
[ -x /usr/bin/quarto ] || { wget -qO /tmp/q.deb "https://quarto.org/download/latest/quarto-linux-amd64.deb"; dpkg -i /tmp/q.deb; rm /tmp/q.deb; }
