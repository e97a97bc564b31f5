# Read by install.sh, install-pager.sh and update.sh.

# program FOLDER FILE...: a virtual environment with what the files name, and this version of the program.
program() {
    folder=$1
    shift
    python3 -c 'import venv, ensurepip' 2> /dev/null || {
        echo "python3-venv is missing: apt install python3-venv" >&2
        return 1
    }
    # The Pi camera's driver comes from apt, so the environment sees system packages.
    [ -x "$folder/bin/python" ] || python3 -m venv --system-site-packages "$folder" || return 1
    pip="$folder/bin/python -m pip install --quiet --no-build-isolation ${PIP_ARGS:-}"
    for file in requirements/build.txt "$@"; do
        $pip --require-hashes -r "$file" || return 1
    done
    $pip --no-deps --force-reinstall .
}
