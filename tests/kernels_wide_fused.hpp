// What the tests of the fused wide passes on mma.sync share: a pass that finds gates and the first output,
// and the further outputs from its gates, against the reference: equal integers for every shape and device.
#pragma once

#include "kernel_rows.hpp"

#include <string>

namespace fntk::test {

struct FusedShape {
    std::int64_t n, m, p, k;
    int bits = 22;
};

enum class FusedWanted : std::uint8_t { both, gates, gradients };

/// with_kernels(p, bits, f): f(pass, further) with two kernels of the family, or false and no call. The
/// gates are poisoned, since they are written in full, and both have guards.
template <class WithKernels>
void expect_exact(Up family, const WithKernels& with_kernels, const FusedShape& shape,
                  const HostOptions& options = {}, FusedWanted wanted = FusedWanted::both) {
    const std::int64_t n = shape.n, m = shape.m, p = shape.p, k = shape.k;
    const UpFactor up = seeded_up(family, m, p);
    const Readout readout = seeded_readout(m, k);
    Matrix h = hidden_integers(n, p, static_cast<std::uint64_t>(n + m + p), shape.bits);
    WideResult expected = reference_wide_pass(up, readout, h);
    Guarded<std::uint64_t> gates(n, (m + 63) / 64, 1, 0xABABABABABABABABU, 7);
    Guarded<std::int32_t> gradients(n, k * p, 3, 0, 1 << 30);

    const bool fits = with_kernels(p, shape.bits, [&](auto pass, auto further) {
        const auto set = [&](auto& kernel) {
            kernel.up_seed = up.seed;
            kernel.readout_seed = readout.seed;
            kernel.m = m;
            kernel.p = p;
            if (wanted != FusedWanted::gates) kernel.gradients = gradients.view;
        };
        set(pass);
        pass.h = rows_in<const std::int32_t>(h);
        if (wanted != FusedWanted::gradients) pass.gates = gates.view;
        run_on_host(pass, options);
        if (wanted == FusedWanted::gates) return;
        set(further);
        further.first = 1;
        further.outputs = k;
        const kernels::Rows<std::uint64_t> found =
            wanted == FusedWanted::both ? gates.view : rows_in(expected.gates.view());
        further.gates = {found.data, found.rows, found.cols, found.stride};
        run_on_host(further, options);
    });
    const std::string what = "n " + std::to_string(n) + " m " + std::to_string(m) + " p " +
                             std::to_string(p) + " k " + std::to_string(k) + " bits " +
                             std::to_string(shape.bits) + " multiprocessors " +
                             std::to_string(options.limits.multiprocessors);
    EXPECT_TRUE(fits) << what;
    if (wanted != FusedWanted::gradients) expect_equal(gates.view, expected.gates, "gates, " + what);
    if (wanted != FusedWanted::gates)
        expect_equal(gradients.view, expected.gradients, "gradients, " + what);
    EXPECT_TRUE(gates.intact() && gradients.intact()) << what;
}

/// A pass of small rank p adds to the sums that are there.
template <class Pass>
void expect_added(Up family, std::int64_t p) {
    const UpFactor up = seeded_up(family, 70, p);
    const Readout readout = seeded_readout(70, 1);
    Matrix h = hidden_integers(4, p, 1);
    WideResult expected = reference_wide_pass(up, readout, h);
    Guarded<std::int32_t> gradients(4, p, 0, 1000, 0);
    Pass pass;
    pass.up_seed = up.seed;
    pass.readout_seed = readout.seed;
    pass.m = 70, pass.p = p;
    pass.h = rows_in<const std::int32_t>(h);
    pass.gradients = gradients.view;
    run_on_host(pass);
    for (std::int64_t i = 0; i < 4; ++i)
        for (std::int64_t q = 0; q < p; ++q)
            EXPECT_EQ(gradients.view.row(i)[q], 1000 + expected.gradients.at<std::int32_t>(i, q));
}

/// Neither rows nor results: no launch.
template <class Pass, class Further>
void expect_no_launch() {
    Pass pass;
    std::int32_t memory[4] = {};
    pass.m = 100, pass.p = 2;
    pass.h = {memory, 0, 2, 2};
    pass.gradients = {memory, 0, 2, 2};
    EXPECT_EQ(pass.launch({}).blocks, 0);
    pass.h.rows = pass.gradients.rows = 2;
    EXPECT_GT(pass.launch({}).blocks, 0);
    pass.gradients.data = nullptr;
    EXPECT_EQ(pass.launch({}).blocks, 0);
    Further further;
    further.m = 100, further.p = 2;
    further.gates.rows = 2;
    further.first = further.outputs = 1;
    EXPECT_EQ(further.launch({}).blocks, 0);
}

}  // namespace fntk::test
