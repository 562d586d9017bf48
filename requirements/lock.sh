#!/bin/sh
# Resolve both locks again from pyproject.toml: requirements/lock.sh (needs uv on the PATH).
# The result is installed without dependency resolution, see requirements/install.sh.
set -eu
cd "$(dirname "$0")/.."
common="--extra pages --extra oidc --extra train --extra eval --extra docs --extra dev
  --override requirements/overrides.txt
  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate --no-header
  --quiet"
torch_cpu=$(mktemp)
trap 'rm -f "$torch_cpu"' EXIT
echo 'torch==2.13.0+cpu' >"$torch_cpu"
# The CPU build comes from a folder (PIP_FIND_LINKS) if there is one, else from PyTorch's index.
if [ -n "${PIP_FIND_LINKS:-}" ]; then
  source="--find-links $PIP_FIND_LINKS"
else
  source="--index https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match"
fi
uv pip compile pyproject.toml $common --extra cpu --override "$torch_cpu" $source \
  -o requirements/cpu.txt
uv pip compile pyproject.toml $common --extra gpu -o requirements/gpu.txt
