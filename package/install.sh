#!/bin/sh
# Install Partyline from the wheels beside this file, without a network: sh install.sh [FOLDER]
# PYTHON=... chooses another interpreter than python3. FOLDER becomes a virtual environment.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$HOME/partyline}
version=$(cat "$here/python-version")

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    if command -v "python$version" >/dev/null 2>&1; then PYTHON=python$version; fi
fi
found=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || {
    echo "Python $version is missing; PYTHON=... names it." >&2
    exit 1
}
if [ "$found" != "$version" ]; then
    echo "This bundle is for Python $version, and $PYTHON is Python $found; PYTHON=... names another one." >&2
    exit 1
fi

"$PYTHON" -m venv --without-pip "$folder"
set -- "$here"/wheels/pip-*.whl
"$folder/bin/python" "$1/pip" --isolated --disable-pip-version-check --no-cache-dir --quiet \
    install --no-index --find-links "$here/wheels" --upgrade partyline
echo "Installed. Start the server with $folder/bin/partyline-server, and a client with $folder/bin/partyline."
