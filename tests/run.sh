#!/bin/sh
# Installs what the tests need and runs them: sh tests/run.sh [PYTEST ARGUMENT ...]
# As root on Debian nothing is skipped; elsewhere what is missing is skipped, with the reason.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # No package of the tests may start a service on this machine.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2046
    apt-get install -y -qq --no-install-recommends $(grep -v '^#' tests/packages.txt) >/dev/null
    # Executables of another system come as npm packages.
    command -v npm >/dev/null || apt-get install -y -qq --no-install-recommends npm >/dev/null
fi
sh .ci/venv test
exec .venv/bin/python -m pytest "$@"
