#!/usr/bin/env bash
# Everything a machine with a GPU is needed for, in less than ten minutes: builds for the GPU that is there,
# runs the tests on it, the exact ones first, looks for bad memory accesses and races, takes times, and compares
# them with PyTorch's and JAX's where python3 has those (more than one call).
# Nothing is installed; what the system lacks comes from bundle/ (scripts/bundle.sh).
#     bench/gpu.sh OUT                    every step that has not passed yet; logs and results go to OUT
#     bench/gpu.sh OUT STEP...            these steps only, by the names of the functions below
#     bench/gpu.sh --again OUT [STEP...]  those that have passed too
#     bench/gpu.sh --built OUT [STEP...]  with what another machine has built (scripts/gpu-programs.sh): minutes less
# OUT may be a folder under build/. Where no clone is, FNTK_COMMIT says what is measured.
# OUT/STEP.status holds the exit status (124: out of time) and the seconds, OUT/STEP.log the output. A call ends
# within FNTK_GPU_BUDGET seconds, 540 by default: then it says which steps are left, and the next call goes on
# with them. Exits with 0 when every step has passed.
set -euo pipefail

again=false
export FNTK_GPU_BUILT=${FNTK_GPU_BUILT:-false}
while [[ ${1:-} == --again || ${1:-} == --built ]]; do
    if [[ $1 == --again ]]; then again=true; else FNTK_GPU_BUILT=true; fi
    shift
done
[[ $# -ge 1 && $1 != -* ]] || { echo "usage: $0 [--again] [--built] OUT [STEP...]" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
build=$root/build/gpu
budget=${FNTK_GPU_BUDGET:-540}
jobs=$(nproc)

if [[ -d bundle/prefix/usr ]]; then  # for the projects that the tests of the package configure
    export CMAKE_PREFIX_PATH=$root/bundle/prefix/usr${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
    for folder in "$root"/bundle/prefix/usr/lib/*-linux-gnu; do
        export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
    done
fi
if ! command -v nvcc >/dev/null && [[ -x /usr/local/cuda/bin/nvcc ]]; then
    export PATH=$PATH:/usr/local/cuda/bin
fi
if $FNTK_GPU_BUILT && command -v nvcc >/dev/null; then
    toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$toolkit/lib64
fi

# --- the steps; each runs with `set -e` in a shell of its own

environment() {
    date -u
    git rev-parse HEAD 2>/dev/null || echo "no commit: this is no clone"
    git status --short 2>/dev/null || true
    uname -a
    lscpu 2>/dev/null | grep -E '^(Model name|CPU\(s\)|Flags)' || true
    cmake --version | head -1
    c++ --version | head -1
    nvcc --version | tail -2
    local toolkit part
    toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
    for part in include/{cublas_v2,cusolverDn,curand_kernel}.h include/nvtx3/nvToolsExt.h lib64/lib{cublas,cusolver}.so; do
        [[ -e $toolkit/$part ]] || echo "missing: $toolkit/$part"
    done
    nvidia-smi
    local properties=name,compute_cap,memory.total,driver_version,clocks.max.sm,clocks.max.mem,power.limit
    nvidia-smi --query-gpu=$properties --format=csv
}

configure() {
    local architectures=native
    if command -v nvidia-smi >/dev/null; then
        architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d . | sort -u |
            paste -sd ';')
    fi
    cmake --preset cuda -B "$build" -DCMAKE_CUDA_ARCHITECTURES="$architectures"
}

# What the first steps run; `everything` builds the rest. What the assembler of another toolkit may make of the kernels
# for 9.0: right, and slow.
compile() {
    cmake --build "$build" --parallel "$jobs" --target fntk_tests fntk_program fntk_philox_curand_test \
        fntk_gpu_ceilings fntk_gpu_case fntk_peer_case fntk_bench 2>&1 | tee "$out/compile.txt"
    if grep -E 'C75[0-9]{2}|setmaxnreg.*ignored' "$out/compile.txt"; then echo "SKIPPED: fast wgmma; see compile.txt"; fi
}

# The kernel that no other check contains: where it never ends, ends badly or computes something else, all later
# steps do without it.
wgmma() { "$build/tests/fntk_tests" --gtest_filter='CudaTest.TheKernelForComputeCapability90*'; }

# Tests by their filter, dealt out to so many processes. One that is skipped here did not find the GPU.
on_gpu() {
    local i process processes=() failed=0
    for ((i = 0; i < $2; i++)); do
        GTEST_TOTAL_SHARDS=$2 GTEST_SHARD_INDEX=$i "$build/tests/fntk_tests" --gtest_filter="$3" \
            --gtest_output="xml:$out/$1.$i.xml" >"$out/$1.$i.txt" 2>&1 &
        processes+=($!)
    done
    for process in "${processes[@]}"; do wait "$process" || failed=1; done
    grep -hE 'Failure|^\[  (PASSED|FAILED|SKIPPED)' "$out/$1".*.txt || true
    if grep -qE '^\[  SKIPPED .*tests?, listed' "$out/$1".*.txt; then echo "tests were skipped: is there a GPU?"; return 1; fi
    return $failed
}
# The GPU's own tests, and those that compare every device for equality.
exact() {
    "$build/bin/fntk" info
    "$build/tests/cuda/fntk_philox_curand_test"
    on_gpu exact 4 'CudaTest.*:ExactIntegers.*:WideWay.*'
}
large() { on_gpu large 2 'SlowCuda*'; }

# But for the package, which other machines build and install as well.
everything() {
    if $FNTK_GPU_BUILT; then
        OPENBLAS_NUM_THREADS=2 FNTK_THREADS=2 on_gpu everything "$((jobs > 4 ? jobs / 2 : 2))" '-SlowCuda*:Slow*Estimate*:*AMissingGpu*'
        return
    fi
    cmake --build "$build" --parallel "$jobs"
    ctest --test-dir "$build" --no-tests=error --output-on-failure --output-junit "$out/everything.xml" \
        --parallel "$jobs" --exclude-regex '^SlowCuda' --label-exclude '^package$'
}

sanitized() {
    if ! command -v compute-sanitizer >/dev/null; then
        echo "SKIPPED: there is no compute-sanitizer"
        return
    fi
    # Libraries ask the driver for functions that it may lack; what fntk asks for it checks itself.
    compute-sanitizer --tool "$1" --error-exitcode 9 --report-api-errors no "${@:3}" "$build/tests/fntk_tests" \
        --gtest_filter="$2"
}
memcheck() {
    sanitized memcheck 'CudaTest.ExactIntegersAreEqualFromData*:CudaTest.Copies*:CudaTest.PerSample*:CudaTest.Gram*'
}
# The kernels for 9.0 too. Tools had trouble with wgmma and setmaxnreg: what fails here, or hangs, needs a look.
memcheck_wgmma() { sanitized memcheck 'CudaTest.ExactIntegersAreEqualWhateverIsKept:CudaTest.GateC*:CudaTest.Moments*:CudaTest.Products*'; }
# Of fntk's kernels, not of the libraries'.
racecheck() { sanitized racecheck 'CudaTest.ExactIntegersAreEqualFromData*:CudaTest.SrhtOf*:CudaTest.PerSample*:CudaTest.GateC*:CudaTest.Moments*' --kernel-regex kns=fntk; }

ceilings() { "$build/bin/fntk_gpu_ceilings" | tee "$out/ceilings.jsonl"; }
timed_on() {
    FNTK_DEVICE=$1 "$build/bin/fntk_bench" --benchmark_filter='^(tangent|gram|operator|step)/' \
        --benchmark_min_time=0.2 --benchmark_out="$out/bench_$1.json" --benchmark_out_format=json
}
bench_cuda() { timed_on cuda; }
bench_cpu() { timed_on cpu; }

# Rows beside PyTorch and JAX, and how time grows. bench/gpu/run.py goes on where it stopped, and returns with 3
# where the time did not suffice.
lacks() {
    command -v python3 >/dev/null && python3 -c "import importlib.util as u; exit(not u.find_spec('$1'))" && return 1
    echo "SKIPPED: there is no python3 with $1"
}
rows() {
    local status=0
    python3 -B bench/gpu/run.py "$out" --bin "$build/bin" --work "$build/rows" --budget "$FNTK_GPU_LIMIT" "$@" ||
        status=$?
    python3 -B bench/gpu/table.py "$out" >"$out/table.md" || true
    return $status
}
peers() { lacks torch || rows; }
growth() { lacks numpy || rows --suite growth; }

# Dense against factorised widths on Fashion-MNIST, found as the program finds it (FNTK_DATA_DIR): the GPU's rows are
# the CPU's, and more samples than a kernel can be formed of.
compare() {
    local fntk=$build/bin/fntk device
    if ! "$fntk" spectrum fashion-mnist --samples 2 --width 64 --device cpu >/dev/null 2>&1; then
        echo "SKIPPED: fashion-mnist is not found; set FNTK_DATA_DIR"
        return
    fi
    for device in cpu cuda; do
        "$fntk" compare fashion-mnist --device $device --steps 10 --json "$out/compare_$device.json"
    done
    python3 -B bench/gpu/same_rows.py "$out/compare_cpu.json" "$out/compare_cuda.json"
    "$fntk" compare fashion-mnist --device cuda --samples 0 --test-samples 10000 --widths 4096 65536 --ranks 256 \
        --steps 20 --memory 64GiB --json "$out/compare_large.json" --plot "$out/compare_large.html"
    "$fntk" compare fashion-mnist --device cuda --samples 0 --test-samples 10000 --widths 10000000 --ranks 256 \
        --kinds down --steps 3 --memory 64GiB --json "$out/compare_widest.json"
}

# --- one after the other

first_steps=(environment configure compile wgmma)
checks=(exact memcheck racecheck large everything compare memcheck_wgmma)
timed_steps=(ceilings peers bench_cuda growth bench_cpu)
all_steps=("${first_steps[@]}" "${checks[@]}" "${timed_steps[@]}")
declare -A seconds=([environment]=20 [configure]=60 [compile]=330 [wgmma]=60 [exact]=150 [memcheck]=120
    [racecheck]=120 [ceilings]=45 [bench_cuda]=60 [peers]=520 [growth]=180 [large]=120 [everything]=240
    [bench_cpu]=60 [compare]=240 [memcheck_wgmma]=120)

passed() { [[ -f $out/$1.status && $(cut -d' ' -f1 "$out/$1.status") == 0 ]]; }

# For `timeout`, which starts programs and no functions. Ended by it, a step waits for what it runs, so that nothing is on
# the GPU when the next begins; a program that goes on is killed.
if [[ ${FNTK_GPU_STEP:-} != "" ]]; then
    trap 'exit 124' TERM
    if [[ $FNTK_GPU_STEP != wgmma && -f $out/wgmma.status ]] && ! passed wgmma; then export FNTK_WGMMA=0; fi
    "$FNTK_GPU_STEP"
    exit
fi

steps=("$@")
if [[ $# -eq 0 ]]; then steps=("${all_steps[@]}"); fi
for step in "${steps[@]}"; do
    if [[ ! -v seconds[$step] ]]; then
        echo "$0: no step is called '$step'; there are: ${all_steps[*]}" >&2
        exit 2
    fi
    if $again; then rm -f "$out/$step.status"; fi
done

left=()
failed=()

# A step in a process of its own, within its limit and the budget; its status and log are in OUT.
run() {
    local step=$1 limit=${seconds[$1]} start=$SECONDS status=0
    if [[ $limit -gt $((budget - SECONDS)) ]]; then limit=$((budget - SECONDS)); fi
    if [[ $limit -lt 5 ]]; then return; fi
    FNTK_GPU_STEP=$step FNTK_GPU_LIMIT=$limit timeout --kill-after=10 "$limit" "$root/bench/gpu.sh" "$out" \
        >"$out/$step.log" 2>&1 || status=$?
    echo "$status $((SECONDS - start)) s" >"$out/$step.status"
}
# What became of it.
report() {
    local step=$1 status
    if [[ ! -f $out/$step.status ]]; then
        left+=("$step")
        return
    fi
    read -r status _ <"$out/$step.status"
    echo "$step: status $(<"$out/$step.status")"
    grep '^SKIPPED' "$out/$step.log" || true
    if [[ $status -eq 3 && ($step == peers || $step == growth) ]]; then
        left+=("$step")
        grep '^no time was left' "$out/$step.log" | cut -c 1-300 || true
    elif [[ $status -ne 0 ]]; then
        failed+=("$step")
        tail -n 15 "$out/$step.log" | sed 's/^/    /'
    fi
}
wanted() { [[ " ${steps[*]} " == *" $1 "* ]] && ! passed "$1"; }

for step in "${steps[@]}"; do
    if passed "$step"; then echo "$step: has passed"; else rm -f "$out/$step.status"; fi
done
waiting=()
for step in "${steps[@]}"; do
    if wanted "$step"; then waiting+=("$step"); fi
done
built=true
# First what the others need; then side by side what takes no times; then what does, one after the other.
for step in "${first_steps[@]}"; do
    wanted "$step" || continue
    if $FNTK_GPU_BUILT && [[ $step == configure || $step == compile ]]; then continue; fi
    run "$step"
    report "$step"
    if [[ ($step == configure || $step == compile) && ${#failed[@]} -gt 0 && ${failed[-1]} == "$step" ]]; then
        built=false
        break
    fi
done
if $built; then
    for step in "${checks[@]}"; do
        if wanted "$step"; then run "$step" & fi
    done
    wait
    for step in "${checks[@]}"; do
        if [[ " ${waiting[*]} " == *" $step "* ]]; then report "$step"; fi
    done
    for step in "${timed_steps[@]}"; do
        wanted "$step" || continue
        run "$step"
        report "$step"
    done
fi
if [[ ${#left[@]} -gt 0 ]]; then echo "no time was left for: ${left[*]}; call again"; fi
if [[ ${#failed[@]} -gt 0 ]]; then echo "failed: ${failed[*]}; see $out"; fi
[[ ${#left[@]} -eq 0 && ${#failed[@]} -eq 0 ]]
