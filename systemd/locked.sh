#!/bin/sh
# locked.sh kiosk|pager: print which file of requirements/ fits what this computer's apt has.
# picamera2 comes from apt and is built for apt's numpy: 1.24 on Bookworm, where it cannot be loaded beside numpy 2.
set -eu
if python3 -c 'import importlib.util as i, sys; sys.exit(not i.find_spec("picamera2"))' &&
    python3 -c 'import numpy, sys; sys.exit(numpy.__version__ >= "2")' 2> /dev/null; then
    echo "requirements/$1-numpy1.txt"
else
    echo "requirements/$1.txt"
fi
