#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/slopes.cpp"
#include <backend/simd/slopes.hpp>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Vectors of at most 64 bytes: a divisor of the 64 bits of a word.
template <class T>
using Tag = hn::CappedTag<T, 64 / sizeof(T)>;

template <class T>
HWY_INLINE T sigma(T z, T closed) {
    return z > T(0) ? z : closed * z;
}

template <class T>
void pack(const T* HWY_RESTRICT z, std::int64_t count, std::uint64_t* HWY_RESTRICT words) {
    const Tag<T> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t r0 = 0; r0 < count; r0 += 64) {
        std::uint64_t word = 0;
        std::int64_t r = r0;
        for (; r + lanes <= std::min(r0 + 64, count); r += lanes) {
            std::uint8_t bits[8];
            hn::StoreMaskBits(d, hn::Gt(hn::LoadU(d, z + r), hn::Zero(d)), bits);
            const std::uint64_t part = bits[0] | (lanes > 8 ? std::uint64_t{bits[1]} << 8 : 0);
            word |= part << (r - r0);
        }
        for (; r < std::min(r0 + 64, count); ++r) word |= std::uint64_t{z[r] > T(0)} << (r - r0);
        words[r0 / 64] = word;
    }
}

template <class T>
T weighted_sum(const T* HWY_RESTRICT z, std::int64_t count, T closed, const T* HWY_RESTRICT a) {
    const Tag<T> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto zero = hn::Zero(d), leak = hn::Set(d, closed);
    auto sum = zero;
    std::int64_t r = 0;
    for (; r + lanes <= count; r += lanes) {
        const auto v = hn::LoadU(d, z + r);
        const auto s = hn::IfThenElse(hn::Gt(v, zero), v, hn::Mul(leak, v));
        sum = hn::MulAdd(s, hn::LoadU(d, a + r), sum);
    }
    T total = hn::GetLane(hn::SumOfLanes(d, sum));
    for (; r < count; ++r) total += sigma(z[r], closed) * a[r];
    return total;
}

template <class T>
void gates_and_values_of(const T* z, std::int64_t count, T closed, const ReadoutColumns<T>& a,
                         std::uint64_t* words, T* values) {
    if (words != nullptr) pack(z, count, words);
    for (std::int64_t c = 0; c < (values != nullptr ? a.outputs : 0); ++c)
        values[c] += weighted_sum(z, count, closed, a.first + c * a.stride);
}

template <class T>
void weighted_slopes_of(const std::uint64_t* HWY_RESTRICT words, std::int64_t count, T closed,
                        const ReadoutColumns<T>& a, const T* HWY_RESTRICT e, T* HWY_RESTRICT out) {
    const Tag<T> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto one = hn::Set(d, T(1)), leak = hn::Set(d, closed);
    std::int64_t r = 0;
    for (; r + lanes <= count; r += lanes) {
        auto sum = hn::Zero(d);
        for (std::int64_t c = 0; c < a.outputs; ++c)
            sum = hn::MulAdd(hn::Set(d, e[c]), hn::LoadU(d, a.first + c * a.stride + r), sum);
        const std::uint64_t bits = words[r / 64] >> (r % 64);
        std::uint8_t bytes[8];
        hwy::CopyBytes<8>(&bits, bytes);  // little-endian
        hn::StoreU(hn::Mul(sum, hn::IfThenElse(hn::LoadMaskBits(d, bytes), one, leak)), d, out + r);
    }
    for (; r < count; ++r) {
        T sum = 0;
        for (std::int64_t c = 0; c < a.outputs; ++c) sum += e[c] * a.first[c * a.stride + r];
        out[r] = sum * ((words[r / 64] >> (r % 64) & 1U) != 0 ? T(1) : closed);
    }
}

void gates_and_values_32(const float* z, std::int64_t count, float closed, const ReadoutColumns<float>& a,
                         std::uint64_t* words, float* values) {
    gates_and_values_of(z, count, closed, a, words, values);
}
void gates_and_values_64(const double* z, std::int64_t count, double closed,
                         const ReadoutColumns<double>& a, std::uint64_t* words, double* values) {
    gates_and_values_of(z, count, closed, a, words, values);
}
void weighted_slopes_32(const std::uint64_t* words, std::int64_t count, float closed,
                        const ReadoutColumns<float>& a, const float* e, float* out) {
    weighted_slopes_of(words, count, closed, a, e, out);
}
void weighted_slopes_64(const std::uint64_t* words, std::int64_t count, double closed,
                        const ReadoutColumns<double>& a, const double* e, double* out) {
    weighted_slopes_of(words, count, closed, a, e, out);
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(gates_and_values_32);
HWY_EXPORT(gates_and_values_64);
HWY_EXPORT(weighted_slopes_32);
HWY_EXPORT(weighted_slopes_64);

void gates_and_values(const float* z, std::int64_t count, float closed, const ReadoutColumns<float>& a,
                      std::uint64_t* words, float* values) {
    HWY_DYNAMIC_DISPATCH(gates_and_values_32)(z, count, closed, a, words, values);
}
void gates_and_values(const double* z, std::int64_t count, double closed, const ReadoutColumns<double>& a,
                      std::uint64_t* words, double* values) {
    HWY_DYNAMIC_DISPATCH(gates_and_values_64)(z, count, closed, a, words, values);
}
void weighted_slopes(const std::uint64_t* words, std::int64_t count, float closed,
                     const ReadoutColumns<float>& a, const float* e, float* out) {
    HWY_DYNAMIC_DISPATCH(weighted_slopes_32)(words, count, closed, a, e, out);
}
void weighted_slopes(const std::uint64_t* words, std::int64_t count, double closed,
                     const ReadoutColumns<double>& a, const double* e, double* out) {
    HWY_DYNAMIC_DISPATCH(weighted_slopes_64)(words, count, closed, a, e, out);
}

}  // namespace fntk::backend
#endif
