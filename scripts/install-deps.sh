#!/usr/bin/env bash
# Installs what building, testing and trying fntk needs on Debian and Ubuntu. Does nothing when all of it is there.
#     scripts/install-deps.sh          the compiler, the libraries, the data of the demo
#     scripts/install-deps.sh --ci     and the tools that .ci/run adds: ccache, clang and its sanitizers, clang-format, clang-tidy,
#                                      and scikit-learn, whose tables a test fits
set -euo pipefail

packages=(
    build-essential cmake ninja-build git
    libopenblas-dev liblapacke-dev libhwy-dev libfmt-dev nlohmann-json3-dev zlib1g-dev  # the library
    libeigen3-dev                                                            # small solutions, headers only
    libcli11-dev                                                             # the program
    libgtest-dev python3 python3-numpy                                       # the tests
    libbenchmark-dev                                                         # the benchmarks
    dataset-fashion-mnist                                                    # the demo
)
case "${1:-}" in
    "") ;;
    --ci) packages+=(ccache clang libclang-rt-dev clang-format clang-tidy python3-sklearn) ;;
    *) echo "usage: $0 [--ci]" >&2; exit 2 ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "$0: this script knows Debian and Ubuntu only. Install what these packages hold, then build with CMake:" >&2
    printf '    %s\n' "${packages[@]}" >&2
    exit 1
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
    echo "install-deps: everything is installed"
    exit 0
fi

as_root=()
if [[ $EUID -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "$0: neither root nor sudo; have these packages installed: ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@"; }

echo "install-deps: installing ${missing[*]}"
apt update -qq || { sleep 10; apt update -qq; }
apt install -y -qq --no-install-recommends "${missing[@]}"
