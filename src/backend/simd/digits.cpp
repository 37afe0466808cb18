#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/digits.cpp"
#include <backend/simd/digits.hpp>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <fixed_point.hpp>

#include <algorithm>
#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Doubles = hn::ScalableTag<double>;

HWY_INLINE hn::Vec<Doubles> load(Doubles d, const double* x) { return hn::LoadU(d, x); }
HWY_INLINE hn::Vec<Doubles> load(Doubles d, const float* x) {
    const hn::Rebind<float, Doubles> half;
    return hn::PromoteTo(d, hn::LoadU(half, x));
}

/// body(load, store, j) over whole vectors, then over the rest through a padded copy.
template <class T, class Body>
HWY_INLINE void over_vectors(const T* x, std::int64_t count, const Body& body) {
    const Doubles d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    std::int64_t j = 0;
    for (; j + lanes <= count; j += lanes) body(load(d, x + j), j, lanes);
    if (j == count) return;
    HWY_ALIGN T rest[hn::MaxLanes(Doubles())] = {};
    std::copy(x + j, x + count, rest);
    body(load(d, rest), j, count - j);
}

HWY_INLINE void store(hn::Vec<Doubles> v, double* out, std::int64_t lanes) {
    const Doubles d;
    if (lanes == static_cast<std::int64_t>(hn::Lanes(d))) return hn::StoreU(v, d, out);
    HWY_ALIGN double all[hn::MaxLanes(Doubles())];
    hn::Store(v, d, all);
    std::copy_n(all, lanes, out);
}

template <class T>
double largest(const T* x, std::int64_t count) {
    const Doubles d;
    auto most = hn::Zero(d);  // x86 takes the second operand where one is NaN: what was found before stays
    over_vectors(x, count,
                 [&](auto v, std::int64_t, std::int64_t) HWY_ATTR { most = hn::Max(hn::Abs(v), most); });
    return hn::GetLane(hn::MaxOfLanes(d, most));
}

template <class T>
void split(const T* x, std::int64_t count, int exponent, double* const* digits, int how_many) {
    const Doubles d;
    const kernels::PowerOfTwo scale(kernels::input_digit_bits - exponent);
    const auto first = hn::Set(d, scale.first), second = hn::Set(d, scale.second);
    const auto next = hn::Set(d, std::ldexp(1.0, kernels::input_digit_bits));
    over_vectors(x, count, [&](auto v, std::int64_t j, std::int64_t lanes) HWY_ATTR {
        auto rest = hn::Mul(hn::Mul(v, first), second);
        for (int a = 0; a < how_many; ++a) {
            const auto digit = hn::Round(rest);
            store(digit, digits[a] + j, lanes);
            rest = hn::Mul(hn::Sub(rest, digit), next);
        }
    });
}

template <class Z>
void quantise_row(const double* x, std::int64_t count, int shift, Z* out) {
    const Doubles d;
    const kernels::PowerOfTwo scale(shift);
    const auto first = hn::Set(d, scale.first), second = hn::Set(d, scale.second);
    over_vectors(x, count, [&](auto v, std::int64_t j, std::int64_t lanes) HWY_ATTR {
        HWY_ALIGN double whole[hn::MaxLanes(Doubles())];
        hn::Store(hn::Round(hn::Mul(hn::Mul(v, first), second)), d, whole);
        for (std::int64_t l = 0; l < lanes; ++l) out[j + l] = static_cast<Z>(whole[l]);
    });
}

double largest_32(const float* x, std::int64_t count) { return largest(x, count); }
double largest_64(const double* x, std::int64_t count) { return largest(x, count); }
void split_32(const float* x, std::int64_t count, int exponent, double* const* digits, int how_many) {
    split(x, count, exponent, digits, how_many);
}
void split_64(const double* x, std::int64_t count, int exponent, double* const* digits, int how_many) {
    split(x, count, exponent, digits, how_many);
}
void quantise_32(const double* x, std::int64_t count, int shift, std::int32_t* out) {
    quantise_row(x, count, shift, out);
}
void quantise_64(const double* x, std::int64_t count, int shift, std::int64_t* out) {
    quantise_row(x, count, shift, out);
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(largest_32);
HWY_EXPORT(largest_64);
HWY_EXPORT(split_32);
HWY_EXPORT(split_64);
HWY_EXPORT(quantise_32);
HWY_EXPORT(quantise_64);

double largest_magnitude(const float* x, std::int64_t count) {
    return HWY_DYNAMIC_DISPATCH(largest_32)(x, count);
}
double largest_magnitude(const double* x, std::int64_t count) {
    return HWY_DYNAMIC_DISPATCH(largest_64)(x, count);
}
void split_digits(const float* x, std::int64_t count, int exponent, double* const* digits, int how_many) {
    HWY_DYNAMIC_DISPATCH(split_32)(x, count, exponent, digits, how_many);
}
void split_digits(const double* x, std::int64_t count, int exponent, double* const* digits, int how_many) {
    HWY_DYNAMIC_DISPATCH(split_64)(x, count, exponent, digits, how_many);
}
void quantise(const double* x, std::int64_t count, int shift, std::int32_t* out) {
    HWY_DYNAMIC_DISPATCH(quantise_32)(x, count, shift, out);
}
void quantise(const double* x, std::int64_t count, int shift, std::int64_t* out) {
    HWY_DYNAMIC_DISPATCH(quantise_64)(x, count, shift, out);
}

}  // namespace fntk::backend
#endif
