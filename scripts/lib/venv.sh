# shellcheck shell=bash
# Purpose: install the Python programs that the scripts need into a virtual environment that is stored between runs.
#          Source this.
# Inputs:  LARDER_DEV_DIR
# Outputs: venv_need, and $venv, which has the programs in bin/
venv=${LARDER_DEV_DIR:?}/venv

# venv_need COMMAND:PACKAGE ...: installs the package of each command that is missing. A package may include a version.
venv_need() {
  local pair missing=() scripts
  scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  for pair in "$@"; do
    [[ -x $venv/bin/${pair%%:*} ]] || missing+=("${pair#*:}")
  done
  ((${#missing[@]})) || return 0
  mkdir -p "$LARDER_DEV_DIR"
  (
    flock 9
    if [[ ! -x $venv/bin/pip ]]; then
      python3 -c 'import venv, ensurepip' 2>/dev/null || "$scripts/need.sh" python3:python3 no-venv:python3-venv
      python3 -m venv "$venv"
    fi
    "$venv/bin/pip" install -q --disable-pip-version-check "${missing[@]}"
  ) 9>"$LARDER_DEV_DIR/venv.lock" >&2
}
