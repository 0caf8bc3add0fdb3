#!/bin/bash
# Sends what leaves the instance through a proxy: shells, apt, pip and git.
#
#   scriptArguments: PROXY-URL [NO-PROXY-LIST]
set -euo pipefail

proxy=${1:?the proxy, such as http://proxy.example.com:3128}
# The instance's metadata and identity endpoints are on the machine and its host, never behind a proxy.
direct=${2:-localhost,127.0.0.1,169.254.169.254,168.63.129.16,.azureml.ms,.core.windows.net}

# Lower case is what most programs read, upper case what the others do.
for name in http_proxy https_proxy HTTP_PROXY HTTPS_PROXY; do
    sed -i --follow-symlinks "/^$name=/d" /etc/environment
    echo "$name=\"$proxy\"" >> /etc/environment
done
for name in no_proxy NO_PROXY; do
    sed -i --follow-symlinks "/^$name=/d" /etc/environment
    echo "$name=\"$direct\"" >> /etc/environment
done

cat > /etc/apt/apt.conf.d/90proxy <<APT
Acquire::http::Proxy "$proxy";
Acquire::https::Proxy "$proxy";
APT

# Each of these files is ours alone: written anew, whatever it held.
cat > /etc/pip.conf <<PIP
[global]
proxy = $proxy
PIP

if command -v git > /dev/null; then
    git config --system http.proxy "$proxy"
fi
echo "everything but $direct goes through $proxy"
