// Which networks there can be.
#include "network_spec.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <fixed_point.hpp>
#include <signs.hpp>

#include <cmath>

namespace fntk {

bool NetworkSpec::operator==(const NetworkSpec& other) const {
    return dim == other.dim && width == other.width && rank == other.rank && outputs == other.outputs &&
           down == other.down && up == other.up && train == other.train &&
           activation.kind == other.activation.kind &&
           (activation.kind != Activation::leaky_relu || activation.slope == other.activation.slope) &&
           precision == other.precision && seed == other.seed && rounding == other.rounding;
}

namespace {

constexpr std::int64_t max_width = (std::int64_t{1} << 31) - 1;  // |Ĝ| ≤ m fits int32
constexpr std::int64_t max_outputs = std::int64_t{1} << 20;

void check_range(const char* argument, std::int64_t value, std::int64_t most, const char* remedy) {
    if (value < 1 || value > most)
        throw ValueError(
            fmt::format("{} is {}; it must lie in [1, {}]: {}", argument, value, most, remedy));
}

/// An enumeration that was cast from a number may be none of its values, which have names.
template <class Enum>
void check_named(const char* argument, Enum value) {
    if (*name(value) == '\0')
        throw ValueError(fmt::format("{} is {}, which is none of its values; use one of them", argument,
                                     static_cast<int>(value)));
}

}  // namespace

NetworkSpec checked(NetworkSpec spec) {
    check_named("down", spec.down);
    check_named("up", spec.up);
    check_named("activation", spec.activation.kind);
    check_range("dim", spec.dim, kernels::max_columns,
                "use data with at least one column, or project it first");
    check_range("width", spec.width, max_width, "choose a width in that range, such as 4096");
    check_range("outputs", spec.outputs, max_outputs, "one per class or target");
    if (spec.precision != DType::f32 && spec.precision != DType::f64)
        throw ValueError(fmt::format("precision is {}; choose float32 or float64", name(spec.precision)));
    if (spec.rounding == Rounding::fast &&
        (spec.up != Up::rademacher || spec.precision != DType::f32 || !spec.activation.homogeneous()))
        throw ValueError(
            fmt::format("rounding is fast with up = {}, activation = {} and {}; it is for rademacher, "
                        "float32 and relu, "
                        "leaky_relu or abs: leave it out",
                        name(spec.up), name(spec.activation.kind), name(spec.precision)));
    if (!std::isfinite(spec.activation.slope))
        throw ValueError(
            fmt::format("the slope of leaky_relu is {}; it must be finite", spec.activation.slope));
    if (!spec.train.any()) throw ValueError("train is empty; name at least one of down, up, readout");

    if (spec.down == Down::identity) {
        if (spec.rank == 0) spec.rank = spec.dim;
        if (spec.rank != spec.dim)
            throw ValueError(fmt::format(
                "rank is {}; with down = identity it is the input dimension {}: leave it out or "
                "choose another down factor",
                spec.rank, spec.dim));
        return spec;
    }
    const bool inside = spec.down == Down::orthonormal || spec.down == Down::pca;
    const std::int64_t most = inside                    ? spec.dim
                              : spec.down == Down::srht ? kernels::next_power_of_two(spec.dim)
                                                        : kernels::max_columns;
    if (spec.rank < 1 || spec.rank > most)
        throw ValueError(fmt::format(
            "rank is {}; with down = {} and dim {} it must lie in [1, {}]: choose a smaller rank or "
            "down = gaussian",
            spec.rank, name(spec.down), spec.dim, most));
    if (spec.up == Up::srht && spec.rank != kernels::next_power_of_two(spec.rank))
        throw ValueError(fmt::format(
            "rank is {}; up = srht needs a power of two: use {} or {}, or up = rademacher or gaussian",
            spec.rank, kernels::next_power_of_two(spec.rank) / 2, kernels::next_power_of_two(spec.rank)));
    return spec;
}

}  // namespace fntk
