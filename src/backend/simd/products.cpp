// A tile of C, six rows of two vectors, stays in registers while A and B go by: twelve chains of
// multiply-adds hide the latency of two units, and eight loads keep up with them.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/products.cpp"
#include <backend/simd/products.hpp>

#include <hwy/foreach_target.h>

#include <backend/simd/lanes-inl.hpp>

#include <algorithm>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

inline constexpr int tile_rows = 6;

template <class T>
std::int64_t width_of() {
    return 2 * static_cast<std::int64_t>(hn::Lanes(Tag<T>()));
}

template <class T>
void pack(const T* HWY_RESTRICT b, std::int64_t stride, std::int64_t rows, std::int64_t cols,
          const T* HWY_RESTRICT factors, T* HWY_RESTRICT panels) {
    const Tag<T> d;
    const std::int64_t width = width_of<T>(), lanes = width / 2;
    for (std::int64_t l = 0; l < rows; ++l) {
        const T one = factors != nullptr ? factors[l] : T(1);
        const auto factor = hn::Set(d, one);
        for (std::int64_t j = 0; j < cols; j += width) {
            const T* from = b + l * stride + j;
            T* to = panels + j * rows + l * width;
            if (j + width <= cols) {
                hn::StoreU(hn::Mul(factor, hn::LoadU(d, from)), d, to);
                hn::StoreU(hn::Mul(factor, hn::LoadU(d, from + lanes)), d, to + lanes);
            } else {
                for (std::int64_t q = 0; q < width; ++q) to[q] = j + q < cols ? one * from[q] : T(0);
            }
        }
    }
}

template <int rows, class T>
HWY_INLINE void tile(const Strides<T>& a, std::int64_t depth, const T* HWY_RESTRICT b, bool accumulate,
                     T* HWY_RESTRICT c, std::int64_t stride) {
    const Tag<T> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto load = [&](int r, std::int64_t at) FNTK_INLINE {
        return r < rows && accumulate ? hn::LoadU(d, c + r * stride + at) : hn::Zero(d);
    };
    auto l0 = load(0, 0), l1 = load(1, 0), l2 = load(2, 0), l3 = load(3, 0), l4 = load(4, 0),
         l5 = load(5, 0);
    auto r0 = load(0, lanes), r1 = load(1, lanes), r2 = load(2, lanes), r3 = load(3, lanes),
         r4 = load(4, lanes), r5 = load(5, lanes);
    const T* HWY_RESTRICT at = a.first;
    for (std::int64_t l = 0; l < depth; ++l, at += a.step, b += 2 * lanes) {
        const auto left = hn::LoadU(d, b), right = hn::LoadU(d, b + lanes);
        const auto multiply = [&](auto row, auto& to_left, auto& to_right) FNTK_INLINE {
            if constexpr (decltype(row)::value < rows) {
                const auto entry = hn::Set(d, at[decltype(row)::value * a.row]);
                to_left = hn::MulAdd(entry, left, to_left);
                to_right = hn::MulAdd(entry, right, to_right);
            }
        };
        multiply(std::integral_constant<int, 0>(), l0, r0);
        multiply(std::integral_constant<int, 1>(), l1, r1);
        multiply(std::integral_constant<int, 2>(), l2, r2);
        multiply(std::integral_constant<int, 3>(), l3, r3);
        multiply(std::integral_constant<int, 4>(), l4, r4);
        multiply(std::integral_constant<int, 5>(), l5, r5);
    }
    const auto store = [&](int r, auto left, auto right) FNTK_INLINE {
        if (r >= rows) return;
        hn::StoreU(left, d, c + r * stride);
        hn::StoreU(right, d, c + r * stride + lanes);
    };
    store(0, l0, r0), store(1, l1, r1), store(2, l2, r2), store(3, l3, r3), store(4, l4, r4),
        store(5, l5, r5);
}

/// A tile of `rows` ≤ most rows.
template <int most, class T>
HWY_INLINE void tile_of(std::int64_t rows, const Strides<T>& a, std::int64_t depth, const T* b,
                        bool accumulate, T* c, std::int64_t stride) {
    if constexpr (most > 1) {
        if (rows < most) return tile_of<most - 1>(rows, a, depth, b, accumulate, c, stride);
    }
    tile<most>(a, depth, b, accumulate, c, stride);
}

/// The next `lines` lines of memory, into the second-level cache.
HWY_INLINE void fetch(Ahead& ahead, std::int64_t lines) {
    const auto* at = static_cast<const char*>(ahead.first);
    const std::int64_t bytes = std::min(lines * 64, ahead.bytes);
    for (std::int64_t q = 0; q < bytes; q += 64) __builtin_prefetch(at + q, 0, 2);
    ahead = {at + bytes, ahead.bytes - bytes};
}

template <class T>
void multiply_of(const BlockProduct<T>& of) {
    const std::int64_t width = width_of<T>(),
                       step = (16 << 10) / (width * sizeof(T));  // half the nearest cache
    const auto parts = [](std::int64_t count, std::int64_t size) { return (count + size - 1) / size; };
    const std::int64_t tiles = parts(of.cols, width) * parts(of.rows, tile_rows) * parts(of.depth, step);
    Ahead ahead[2] = {of.ahead[0], of.ahead[1]};
    const std::int64_t lines[2] = {ahead[0].bytes / (64 * tiles) + 1, ahead[1].bytes / (64 * tiles) + 1};
    for (std::int64_t j = 0; j < of.cols; j += width)
        for (std::int64_t l = 0; l < of.depth; l += step)
            for (std::int64_t i = 0; i < of.rows; i += tile_rows) {
                fetch(ahead[0], lines[0]);
                fetch(ahead[1], lines[1]);
                const Strides<T> a{of.a.first + i * of.a.row + l * of.a.step, of.a.row, of.a.step};
                tile_of<tile_rows>(std::min<std::int64_t>(tile_rows, of.rows - i), a,
                                   std::min(step, of.depth - l), of.panels + j * of.depth + l * width,
                                   of.accumulate || l > 0, of.c + i * of.stride + j, of.stride);
            }
}

template <class T>
T dot_of(const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, std::int64_t count) {
    const Tag<T> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    auto even = hn::Zero(d), odd = hn::Zero(d);
    std::int64_t q = 0;
    for (; q + 2 * lanes <= count; q += 2 * lanes) {
        even = hn::MulAdd(hn::LoadU(d, a + q), hn::LoadU(d, b + q), even);
        odd = hn::MulAdd(hn::LoadU(d, a + q + lanes), hn::LoadU(d, b + q + lanes), odd);
    }
    T sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
    for (; q < count; ++q) sum += a[q] * b[q];
    return sum;
}

std::int64_t width_32() { return width_of<float>(); }
std::int64_t width_64() { return width_of<double>(); }
void pack_32(const float* b, std::int64_t stride, std::int64_t rows, std::int64_t cols,
             const float* factors, float* panels) {
    pack(b, stride, rows, cols, factors, panels);
}
void pack_64(const double* b, std::int64_t stride, std::int64_t rows, std::int64_t cols,
             const double* factors, double* panels) {
    pack(b, stride, rows, cols, factors, panels);
}
void multiply_32(const BlockProduct<float>& of) { multiply_of(of); }
void multiply_64(const BlockProduct<double>& of) { multiply_of(of); }
float dot_32(const float* a, const float* b, std::int64_t count) { return dot_of(a, b, count); }
double dot_64(const double* a, const double* b, std::int64_t count) { return dot_of(a, b, count); }

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(width_32);
HWY_EXPORT(width_64);
HWY_EXPORT(pack_32);
HWY_EXPORT(pack_64);
HWY_EXPORT(multiply_32);
HWY_EXPORT(multiply_64);
HWY_EXPORT(dot_32);
HWY_EXPORT(dot_64);

template <>
std::int64_t panel_width<float>() {
    return HWY_DYNAMIC_DISPATCH(width_32)();
}
template <>
std::int64_t panel_width<double>() {
    return HWY_DYNAMIC_DISPATCH(width_64)();
}
void pack_panels(const float* b, std::int64_t stride, std::int64_t rows, std::int64_t cols,
                 const float* factors, float* panels) {
    HWY_DYNAMIC_DISPATCH(pack_32)(b, stride, rows, cols, factors, panels);
}
void pack_panels(const double* b, std::int64_t stride, std::int64_t rows, std::int64_t cols,
                 const double* factors, double* panels) {
    HWY_DYNAMIC_DISPATCH(pack_64)(b, stride, rows, cols, factors, panels);
}
void multiply(const BlockProduct<float>& of) { HWY_DYNAMIC_DISPATCH(multiply_32)(of); }
void multiply(const BlockProduct<double>& of) { HWY_DYNAMIC_DISPATCH(multiply_64)(of); }
float dot(const float* a, const float* b, std::int64_t count) {
    return HWY_DYNAMIC_DISPATCH(dot_32)(a, b, count);
}
double dot(const double* a, const double* b, std::int64_t count) {
    return HWY_DYNAMIC_DISPATCH(dot_64)(a, b, count);
}

}  // namespace fntk::backend
#endif
