// GPUs that are no GPUs: the runtime, cuBLAS and cuSOLVER of this folder under the toolkit's names, so that
// the .cu files of the CUDA backend are compiled as C++ and run on any machine. Kernels run on the grid of
// the tests. They are the worst GPUs that the documentation allows:
//     late        work waits in its stream until the host waits for it; host memory of a copy is taken and
//                 given then, as if it were pinned
//     strangers   memory of the device is no memory of the host: AddressSanitizer reports who touches it
//                 outside of the stream's work, before it was made or after it was given back; fresh memory
//                 is NaN
//     hoarding    a pool keeps what is given back for requests of the same size, until it is trimmed
//     strict      streams, pointers, kinds of copies, leading dimensions, shared memory and captures that
//                 the documentation does not allow are refused
//     failing     on demand, at any call
#pragma once

#include "cuda_runtime.h"

#include <cstdint>
#include <ostream>
#include <string>

namespace fntk::test::gpu {

/// What there is; to be changed before a handle is opened.
struct Machine {
    int driver = CUDART_VERSION;  // 0: none
    int gpus = 2;
    int compute_capability = 90;
    int of_second = 0;  // the second GPU's; 0: the same
    int multiprocessors = 3;
    std::int64_t memory = std::int64_t{1} << 30;  // of all GPUs
    bool has_pools = true;                        // of memory
    bool has_code = true;                         // false: kernels are for another capability
};
Machine& machine();

/// The call-th from now on, from 0, of the calls that can report `error` does so, and the `times` - 1 after
/// it. Errors that CUDA does not let a process recover from are reported by every call after it.
void fail(std::int64_t call, cudaError_t error, std::int64_t times = 1);
/// Whether it has come to that.
bool has_failed();
/// A new process: no failure, no work; machine() as it is.
void restart();

/// What has been made and not destroyed.
struct Alive {
    std::int64_t blocks = 0, bytes = 0, streams = 0, events = 0, pools = 0, graphs = 0, handles = 0;

    bool operator==(const Alive&) const = default;
    friend std::ostream& operator<<(std::ostream& out, const Alive& alive) {
        return out << alive.blocks << " blocks, " << alive.bytes << " bytes, " << alive.streams
                   << " streams, " << alive.events << " events, " << alive.pools << " pools, "
                   << alive.graphs << " graphs, " << alive.handles << " handles";
    }
};
Alive alive();

/// Calls that were taken since the last take_issued(), and the bytes that were set.
struct Issued {
    std::int64_t kernels = 0, products = 0, sets = 0, bytes_set = 0, copies = 0, taken = 0, given_back = 0,
                 waits = 0;

    bool operator==(const Issued&) const = default;
    friend std::ostream& operator<<(std::ostream& out, const Issued& issued) {
        return out << issued.kernels << " kernels, " << issued.products << " products, " << issued.sets
                   << " sets of " << issued.bytes_set << " bytes, " << issued.copies << " copies, "
                   << issued.taken << " blocks taken, " << issued.given_back << " given back, "
                   << issued.waits << " waits";
    }
};
Issued take_issued();

/// What was done against the rules since the last call, the first of it; else empty.
std::string take_fault();

}  // namespace fntk::test::gpu
