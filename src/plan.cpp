// What a network costs: the sums that stand beside the fields of Cost in plan.hpp, with n samples, input
// dimension d, rank p, width m, k outputs. Every product and sum saturates at 2^63 − 1, so that a plan may
// be asked for any extent.
#include <fntk/error.hpp>
#include <fntk/plan.hpp>

#include <fmt/format.h>

#include <limits>

namespace fntk {
namespace {

/// A count ≥ 0 that saturates.
struct Count {
    std::int64_t value = 0;
};

Count operator*(Count a, Count b) {
    Count result;
    if (__builtin_mul_overflow(a.value, b.value, &result.value))
        result.value = std::numeric_limits<std::int64_t>::max();
    return result;
}

Count operator+(Count a, Count b) {
    Count result;
    if (__builtin_add_overflow(a.value, b.value, &result.value))
        result.value = std::numeric_limits<std::int64_t>::max();
    return result;
}

Count when(bool condition, Count count) { return condition ? count : Count{}; }

/// ⌈log2 p⌉, the stages of a Walsh–Hadamard transform.
Count log2_ceiling(Count p) {
    Count stages;
    while (stages.value < 62 && (std::int64_t{1} << stages.value) < p.value) ++stages.value;
    return stages;
}

Count extent(const char* field, std::int64_t value, std::int64_t least) {
    if (value < least)
        throw ValueError(fmt::format("{} = {}: it must be at least {}; set it before asking for the cost",
                                     field, value, least));
    return {value};
}

}  // namespace

Cost cost(const NetworkSpec& spec, std::int64_t samples) {
    const bool identity = spec.down == Down::identity;
    const Count n = extent("samples", samples, 0), d = extent("dim", spec.dim, 1),
                m = extent("width", spec.width, 1), k = extent("outputs", spec.outputs, 1);
    const Count p = identity && spec.rank == 0 ? d : extent("rank", spec.rank, 1);
    if (identity && p.value != d.value)
        throw ValueError(
            fmt::format("rank = {} with down = identity: it must be dim = {}, or 0 which stands for it",
                        p.value, d.value));
    if (spec.precision != DType::f32 && spec.precision != DType::f64)
        throw ValueError(
            fmt::format("precision = {}: it must be float32 or float64", name(spec.precision)));
    const Count two{2}, one{1}, bytes{static_cast<std::int64_t>(size_of(spec.precision))};
    const Train train = spec.train;
    const bool up_stored = train.up || spec.up == Up::gaussian;

    const Count parameters = when(train.down, p * d) + when(train.up, m * p) + when(train.readout, m * k);
    const Count stored =
        bytes * (when(!identity, p * d) + when(up_stored, m * p) + when(train.readout, m * k));
    // per sample and unit: 2p flops of a product with V, or the log2(P) additions of a transform by blocks
    // of P
    const bool transform =
        spec.up == Up::srht && !train.up && !train.readout && spec.activation.homogeneous();
    const Count unit = transform ? log2_ceiling(p) : two * p;
    const Count tangent =
        when(!identity, two * n * d * p) + n * m * unit + n * m * k + when(train.down, n * m * unit * k);
    const Count inner = when(train.down, d + k * p) + when(train.up, p + m) + when(train.readout, m);
    const Count backward = when(train.down, two * n * k * p + two * n * p * d) +
                           when(train.up, two * n * m * k + two * n * m * p) +
                           when(train.readout, two * n * m * k);
    return {parameters.value, stored.value, tangent.value, (n * (n + one) * inner).value,
            (tangent + backward).value};
}

}  // namespace fntk
