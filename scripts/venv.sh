# Sourced by ./run and ./check: makes a virtual environment that holds what a lock names, and this project itself.

say() { printf '%s\n' "$*" >&2; }

find_python() {
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "This needs Python 3.11 or newer and found none; install it, or say where it is: PYTHON=/path/to/python3 $0"
    return 1
}

# make_venv FOLDER LOCK: does nothing when nothing changed since the last time.
make_venv() {
    stamp="$(pwd) $(cksum <"$2") $(cksum <pyproject.toml)"
    if "$1/bin/python" -c '' 2>/dev/null && [ "$(cat "$1/.stamp" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    if ! "$1/bin/python" -c 'import pip' 2>/dev/null; then
        python=$(find_python) || exit 1
        rm -rf "$1"
        if ! "$python" -m venv "$1" >/dev/null 2>&1; then
            rm -rf "$1"
            say "$python cannot make virtual environments; on Debian and Ubuntu: sudo apt-get install python3-venv"
            exit 1
        fi
    fi
    say "Setting up $1 from $2; this takes a minute the first time."
    # Most of what is installed is never loaded; Python compiles the rest as it is met, unless it may not write.
    compile=--no-compile
    [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || compile=--compile
    if ! "$1/bin/python" -m pip --disable-pip-version-check install --quiet "$compile" --requirement "$2" ||
        ! "$1/bin/python" -m pip --disable-pip-version-check install --quiet "$compile" --no-deps --editable .; then
        say "The packages of $2 could not be installed into $1; the lines above say why. Run $0 again when that is mended."
        exit 1
    fi
    printf '%s\n' "$stamp" >"$1/.stamp"
}
