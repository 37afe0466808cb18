#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/arc.cpp"
#include <backend/simd/arc.hpp>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

#include <algorithm>
#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::CappedTag<T, 64 / sizeof(T)>;

/// |u − v|², or |u + v|² with sign = −1.
template <class T>
T chord_square(const T* HWY_RESTRICT u, const T* HWY_RESTRICT v, std::int64_t depth, T sign) {
    const Tag<T> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto side = hn::Set(d, sign);
    auto even = hn::Zero(d), odd = even;
    std::int64_t q = 0;
    for (; q + 2 * lanes <= depth; q += 2 * lanes) {
        const auto a = hn::NegMulAdd(side, hn::LoadU(d, v + q), hn::LoadU(d, u + q));
        const auto b = hn::NegMulAdd(side, hn::LoadU(d, v + q + lanes), hn::LoadU(d, u + q + lanes));
        even = hn::MulAdd(a, a, even);
        odd = hn::MulAdd(b, b, odd);
    }
    T total = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
    for (; q < depth; ++q) total += (u[q] - sign * v[q]) * (u[q] - sign * v[q]);
    return total;
}

/// One vector of values: the first `count` lanes of `cosines` are those of u'_j, u'_(j + 1), ...
template <class T>
HWY_INLINE void arc_vector(const kernels::ArcKernel& kernel, const ArcRow<T>& row, std::int64_t j,
                           std::int64_t count, const T* norms, T* HWY_RESTRICT values) {
    const Tag<T> d;
    const auto one = hn::Set(d, T(1)), cos = hn::LoadU(d, values);
    const auto open = hn::Acos(d, hn::Neg(cos));
    const auto sin = hn::Sqrt(hn::Mul(hn::Sub(one, cos), hn::Add(one, cos)));
    const auto line = hn::MulAdd(hn::Set(d, static_cast<T>(kernel.slope())), open,
                                 hn::Set(d, static_cast<T>(kernel.level())));
    const auto value = hn::MulAdd(hn::Set(d, static_cast<T>(kernel.bend())), sin, hn::Mul(cos, line));
    hn::StoreU(hn::Mul(hn::Mul(value, hn::Set(d, row.norm)), hn::LoadU(d, norms)), d, values);

    const auto limit = hn::Set(d, static_cast<T>(kernels::well_conditioned));
    if (HWY_LIKELY(hn::AllTrue(d, hn::Lt(hn::Abs(cos), limit)))) return;
    HWY_ALIGN T cosines[hn::MaxLanes(d)];
    hn::Store(cos, d, cosines);
    for (std::int64_t l = 0; l < count; ++l) {
        if (std::abs(cosines[l]) < static_cast<T>(kernels::well_conditioned)) continue;
        const bool opposite = cosines[l] < 0;
        const T square =
            chord_square(row.u, row.u_cols + (j + l) * row.stride, row.depth, opposite ? T(-1) : T(1));
        values[l] =
            static_cast<T>(kernel.at_chord(static_cast<double>(square), opposite)) * row.norm * norms[l];
    }
}

template <class T>
void arc_row_of(const kernels::ArcKernel& kernel, const ArcRow<T>& row, std::int64_t count, T* values) {
    const Tag<T> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    std::int64_t j = 0;
    for (; j + lanes <= count; j += lanes) arc_vector(kernel, row, j, lanes, row.norms + j, values + j);
    if (j == count) return;
    HWY_ALIGN T rest[hn::MaxLanes(d)] = {}, norms[hn::MaxLanes(d)] = {};
    std::copy_n(values + j, count - j, rest);
    std::copy_n(row.norms + j, count - j, norms);
    arc_vector(kernel, row, j, count - j, norms, rest);
    std::copy_n(rest, count - j, values + j);
}

void arc_row_32(const kernels::ArcKernel& kernel, const ArcRow<float>& row, std::int64_t count,
                float* values) {
    arc_row_of(kernel, row, count, values);
}
void arc_row_64(const kernels::ArcKernel& kernel, const ArcRow<double>& row, std::int64_t count,
                double* values) {
    arc_row_of(kernel, row, count, values);
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(arc_row_32);
HWY_EXPORT(arc_row_64);

void arc_row(const kernels::ArcKernel& kernel, const ArcRow<float>& row, std::int64_t count,
             float* values) {
    HWY_DYNAMIC_DISPATCH(arc_row_32)(kernel, row, count, values);
}
void arc_row(const kernels::ArcKernel& kernel, const ArcRow<double>& row, std::int64_t count,
             double* values) {
    HWY_DYNAMIC_DISPATCH(arc_row_64)(kernel, row, count, values);
}

}  // namespace fntk::backend
#endif
