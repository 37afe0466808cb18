#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/normals.cpp"
#include <backend/simd/normals.hpp>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <philox.hpp>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Doubles = hn::ScalableTag<double>;
using Words = hn::ScalableTag<std::uint64_t>;

/// Exact for words below 2^52.
HWY_INLINE hn::Vec<Doubles> to_double(hn::Vec<Words> v) {
    const Doubles d;
    const Words w;
    const auto shifted = hn::BitCast(d, hn::Or(v, hn::Set(w, 0x4330000000000000ULL)));
    return hn::Sub(shifted, hn::Set(d, 0x1p52));
}

template <int count>
HWY_INLINE hn::Vec<Doubles> polynomial(const kernels::Series<count>& series, hn::Vec<Doubles> x) {
    const Doubles d;
    auto sum = hn::Set(d, series.value[count - 1]);
    for (int i = count - 2; i >= 0; --i) sum = hn::Add(hn::Mul(sum, x), hn::Set(d, series.value[i]));
    return sum;
}

/// Pairs of words as the halves of 64-bit lanes, in memory order.
HWY_INLINE void box_muller_vector(const std::uint64_t* HWY_RESTRICT pairs, double* HWY_RESTRICT out) {
    namespace k = kernels;
    const Doubles d;
    const Words w;
    const auto v = hn::LoadU(w, pairs), one = hn::Set(w, 1);
    const auto first = hn::And(v, hn::Set(w, 0xFFFFFFFFULL)), second = hn::ShiftRight<32>(v);

    const auto bits = hn::BitCast(w, to_double(hn::Add(hn::Add(first, first), one)));
    auto mantissa = hn::BitCast(
        d, hn::Or(hn::And(bits, hn::Set(w, 0x000FFFFFFFFFFFFFULL)), hn::Set(w, 0x3FF0000000000000ULL)));
    auto exponent = hn::Sub(to_double(hn::ShiftRight<52>(bits)), hn::Set(d, 1023.0 + 33.0));
    const auto high = hn::Gt(mantissa, hn::Set(d, k::root_two));
    mantissa = hn::IfThenElse(high, hn::Mul(mantissa, hn::Set(d, 0.5)), mantissa);
    exponent = hn::IfThenElse(high, hn::Add(exponent, hn::Set(d, 1.0)), exponent);
    const auto s = hn::Div(hn::Sub(mantissa, hn::Set(d, 1.0)), hn::Add(mantissa, hn::Set(d, 1.0)));
    const auto log = hn::Add(hn::Mul(exponent, hn::Set(d, k::log_two)),
                             hn::Mul(s, polynomial(k::log_series(), hn::Mul(s, s))));
    const auto radius = hn::Sqrt(hn::Mul(hn::Set(d, -2.0), log));

    const auto turn = hn::Add(hn::Add(second, second), one);  // of 2^33
    const auto quarter = hn::ShiftRight<31>(hn::Add(turn, hn::Set(w, std::uint64_t{1} << 30)));
    const auto rest = hn::Sub(
        to_double(hn::Sub(hn::Add(turn, hn::Set(w, std::uint64_t{1} << 33)), hn::ShiftLeft<31>(quarter))),
        hn::Set(d, 0x1p33));
    const auto angle = hn::Mul(rest, hn::Set(d, k::turn_to_radians));
    const auto square = hn::Mul(angle, angle);
    const auto sine = hn::Mul(angle, polynomial(k::sine_series(), square));
    const auto cosine = polynomial(k::cosine_series(), square);
    const auto odd = hn::MaskFromVec(
        hn::BitCast(d, hn::Neg(hn::BitCast(hn::RebindToSigned<Words>(), hn::And(quarter, one)))));
    const auto negative_x = hn::ShiftLeft<63>(hn::ShiftRight<1>(hn::Add(quarter, one)));
    const auto negative_y = hn::ShiftLeft<63>(hn::ShiftRight<1>(quarter));
    const auto x = hn::Xor(hn::IfThenElse(odd, sine, cosine), hn::BitCast(d, negative_x));
    const auto y = hn::Xor(hn::IfThenElse(odd, cosine, sine), hn::BitCast(d, negative_y));
    hn::StoreInterleaved2(hn::Mul(radius, x), hn::Mul(radius, y), d, out);
}

void box_muller_all(const std::uint32_t* words, std::int64_t pairs, double* out) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(Words()));
    HWY_ALIGN std::uint64_t in[hn::MaxLanes(Words())] = {};
    HWY_ALIGN double rest[2 * hn::MaxLanes(Words())];
    for (std::int64_t j = 0; j < pairs; j += lanes) {
        const std::int64_t count = std::min(lanes, pairs - j);
        std::copy_n(words + 2 * j, 2 * count, reinterpret_cast<std::uint32_t*>(in));
        if (count == lanes) {
            box_muller_vector(in, out + 2 * j);
        } else {
            box_muller_vector(in, rest);
            std::copy_n(rest, 2 * count, out + 2 * j);
        }
    }
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(box_muller_all);

void box_muller(const std::uint32_t* words, std::int64_t pairs, double* out) {
    HWY_DYNAMIC_DISPATCH(box_muller_all)(words, pairs, out);
}

}  // namespace fntk::backend
#endif
