// What stands for a kernel's code on a GPU that is none: work that runs its body on the grid of the tests.
#pragma once

#include "../host_grid.hpp"

#include <functional>

namespace fntk::test {

using Work = std::function<void()>;

struct DeviceCode {
    Work work;
    int max_threads = 0;
    int compute_capability = 0;  // the only one it is for; 0: any
};

/// The kernel is copied, as a launch copies its arguments.
template <class Kernel>
DeviceCode device_code(void* const* arguments, const kernels::Launch& launch, const HostOptions& options) {
    const auto& kernel = *static_cast<const Kernel*>(arguments[0]);
    return {[kernel, launch, options] {
                run_launch(launch, Kernel::max_threads, options, [&](HostGrid& grid) { kernel(grid); });
            },
            Kernel::max_threads, 0};
}

}  // namespace fntk::test

namespace fntk::kernels {

/// The entries of kernels/grid.hpp and kernels/warpgroup.hpp.
template <class Kernel>
test::DeviceCode entry(void* const* arguments, const Launch& launch, const test::HostOptions& options) {
    return test::device_code<Kernel>(arguments, launch, options);
}
template <class Kernel>
test::DeviceCode warpgroup_entry(void* const* arguments, const Launch& launch,
                                 const test::HostOptions& options) {
    test::DeviceCode code = test::device_code<Kernel>(arguments, launch, options);
    code.compute_capability = 90;
    return code;
}

}  // namespace fntk::kernels
