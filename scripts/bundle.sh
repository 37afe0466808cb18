#!/usr/bin/env bash
# Collects the libraries that fntk and its tests need, for a machine without a network that has a C++ compiler,
# CMake 3.24 or later and Ninja (and a CUDA toolkit, if it has a GPU): Debian's own packages, unpacked into one
# folder that can be moved. Runs on Debian and Ubuntu with their package lists in place; installs nothing and
# needs no root. The other machine has the same processor architecture, and a C and a C++ library no older than
# those that the packages were made with.
#     scripts/bundle.sh              into bundle/, where the build looks for what the system lacks
#     scripts/bundle.sh FOLDER       into another folder: cmake --preset release -DFNTK_BUNDLE=FOLDER
set -euo pipefail

[[ $# -le 1 && ${1:-} != -* ]] || { echo "usage: $0 [FOLDER]" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$root/bundle}
most_mib=50

for tool in apt-get apt-cache dpkg-deb ar c++; do
    if ! command -v "$tool" >/dev/null; then
        echo "$0: $tool is missing; run this on Debian or Ubuntu" >&2
        exit 1
    fi
done

# Headers and link names; what they load is found by following their dependencies.
packages=(
    libopenblas-pthread-dev liblapacke-dev libhwy-dev libfmt-dev nlohmann-json3-dev zlib1g-dev
    libeigen3-dev libcli11-dev libgtest-dev libbenchmark-dev
)
# Their dependencies that hold libraries of their own, by name: versions differ from one release to the next.
wanted='^(libopenblas0-pthread|libhwy|libfmt|zlib1g|libbenchmark|libgfortran|libquadmath)'

dependencies() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "$@" | grep -E "$wanted" | grep -v -E '(-dev|:.*)$' | sort -u
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mapfile -t loaded < <(dependencies "${packages[@]}")
echo "bundle: ${packages[*]} ${loaded[*]}"
(cd "$work" && apt-get download -q -q -o APT::Sandbox::User=root "${packages[@]}" "${loaded[@]}")

prefix=$work/prefix
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$prefix"; done
lib=$(echo "$prefix"/usr/lib/*-linux-gnu)
[[ -d $lib ]] || { echo "$0: the packages hold no single folder usr/lib/*-linux-gnu" >&2; exit 1; }
include=$prefix/usr/include/$(basename "$lib")

# What Debian arranges by alternatives and by /lib. OpenBLAS holds LAPACK too.
mv "$lib"/openblas-pthread/libopenblas*.so* "$lib"
mv "$include"/openblas-pthread/*.h "$prefix/usr/include"
if [[ -d $prefix/lib/$(basename "$lib") ]]; then mv "$prefix/lib/$(basename "$lib")"/* "$lib"; fi
ln -sf "$(basename "$(readlink "$lib/libz.so")")" "$lib/libz.so"

# LAPACKE as an archive, of which the functions stay that fntk calls: a shared one asks for a LAPACK of its own.
rm -f "$lib"/liblapacke.so*
called=$(grep -rohE '\bLAPACKE_d[a-z]+' "$root/src" | sed 's/LAPACKE_//' | sort -u | paste -sd '|')
ar t "$lib/liblapacke.a" | grep -E '^lapacke_[scdz]' |
    { grep -vE "^lapacke_(($called)(_work)?|d_nancheck|d.._(nancheck|trans))[.]o$" || true; } |
    xargs ar d "$lib/liblapacke.a"

# Highway's sorting, which nothing here links: its package only asks that the file exists.
for library in "$lib"/libhwy_contrib.so.*.*; do : >"$library"; done

# Of the headers of Eigen those that the includes in src/ lead to.
grep -rhE '^#(include <Eigen/|define EIGEN_)' "$root/src" >"$work/eigen.cpp"
c++ -std=c++20 -M -I "$prefix/usr/include/eigen3" "$work/eigen.cpp" | tr -d '\\' | tr ' ' '\n' |
    grep -F "$prefix/usr/include/eigen3/" | xargs realpath | sort -u >"$work/included"
find "$prefix/usr/include/eigen3" -type f | xargs realpath |
    { grep -vxFf "$work/included" || true; } | xargs rm -f

rm -rf "${prefix:?}/lib" "$prefix/usr/src" "$prefix"/usr/share/{doc,man,lintian,pkgconfig,bug} \
    "$lib"/{openblas-pthread,pkgconfig} "$include/openblas-pthread"
find "$prefix" -depth -type d -empty -delete
broken=$(find "$prefix" -xtype l)
[[ -z $broken ]] || { echo "$0: links to nowhere: $broken" >&2; exit 1; }

(cd "$work" && basename -a ./*.deb) >"$prefix/packages.txt"
mib=$(du -s --apparent-size --block-size=1M "$prefix" | cut -f1)
if [[ $mib -gt $most_mib ]]; then
    echo "$0: $mib MiB, more than the $most_mib that a bundle may have" >&2
    exit 1
fi
mkdir -p "$folder"
rm -rf "$folder/prefix"
mv "$prefix" "$folder/prefix"
echo "bundle: $folder, $mib MiB"
