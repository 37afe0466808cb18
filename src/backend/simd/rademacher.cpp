// The rademacher wide pass. The 16 possible signed sums of four neighbouring ĥ_q are tabulated once per
// group of samples; z is then one addition for four columns of V, whose bits are the index (the method of
// four Russians). Tables go through the nearest cache in chunks.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/rademacher.cpp"
#include <hwy/foreach_target.h>

#include <backend/simd/lanes-inl.hpp>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

template <class Z>
void tables_of(const GroupRows<Z>& h, Z* HWY_RESTRICT group) {
    const Tag<Z> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t first = 0; first < h.rows; first += lanes)
        for (std::int64_t q = 0; q < h.rank; q += 4, group += 16 * lanes) {
            auto sum = hn::Zero(d);
            for (std::int64_t j = 0; j < 4; ++j) sum = hn::Sub(sum, column(d, h, first, q + j));
            hn::Store(sum, d, group);
            for (std::int64_t index = 1; index < 16; ++index) {  // one bit more than a smaller index
                const std::int64_t bit = index & 1 ? 0 : index & 2 ? 1 : index & 4 ? 2 : 3;
                const auto v = column(d, h, first, q + bit);
                const auto without = hn::Load(d, group + (index & (index - 1)) * lanes);
                hn::Store(hn::Add(without, hn::Add(v, v)), d, group + index * lanes);
            }
        }
}

inline constexpr std::int64_t strip = 256;      // units whose partial sums stay in the scratch array
inline constexpr std::int64_t chunk_words = 4;  // 128 columns, 32 tables

/// Adds one word's columns, at most eight tables, to z.
template <class D, class Z>
HWY_INLINE hn::Vec<D> add_tables(D d, const Z* HWY_RESTRICT tables, std::uint32_t bits, std::int64_t count,
                                 hn::Vec<D> z) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    if (HWY_LIKELY(count >= 8)) {
        auto even = z, odd = hn::Zero(d);
        for (int t = 0; t < 8; t += 2) {
            even = hn::Add(even, hn::Load(d, tables + (16 * t + (bits >> (4 * t) & 15U)) * lanes));
            odd = hn::Add(odd, hn::Load(d, tables + (16 * t + 16 + (bits >> (4 * t + 4) & 15U)) * lanes));
        }
        return hn::Add(even, odd);
    }
    for (std::int64_t t = 0; t < count; ++t)
        z = hn::Add(z, hn::Load(d, tables + (16 * t + (bits >> (4 * t) & 15U)) * lanes));
    return z;
}

template <class Z>
void gates_by_tables(const std::uint32_t* HWY_RESTRICT bits, std::int64_t units, std::int64_t rank,
                     const Z* HWY_RESTRICT group, std::int64_t rows, Z* HWY_RESTRICT scratch,
                     std::uint64_t* HWY_RESTRICT gates) {
    const Tag<Z> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t words = (rank + 31) / 32, tables = (rank + 3) / 4;
    std::fill_n(gates, units, std::uint64_t{0});
    for (std::int64_t first = 0; first < rows; first += lanes, group += 16 * tables * lanes)
        for (std::int64_t u0 = 0; u0 < units; u0 += strip)
            for (std::int64_t w0 = 0; w0 < words; w0 += chunk_words) {
                const std::int64_t w1 = std::min(words, w0 + chunk_words);
                for (std::int64_t u = u0; u < std::min(units, u0 + strip); ++u) {
                    auto z = w0 == 0 ? hn::Zero(d) : hn::Load(d, scratch + (u - u0) * lanes);
                    for (std::int64_t w = w0; w < w1; ++w)
                        z = add_tables(d, group + 8 * w * 16 * lanes, bits[u * words + w], tables - 8 * w,
                                       z);
                    if (w1 < words)
                        hn::Store(z, d, scratch + (u - u0) * lanes);
                    else
                        store_gates(d, z, first, gates + u);
                }
            }
}

void rademacher_group_32(const GroupRows<std::int32_t>& h, std::int32_t* group) { tables_of(h, group); }
void rademacher_group_64(const GroupRows<std::int64_t>& h, std::int64_t* group) { tables_of(h, group); }
void rademacher_gates_32(const std::uint32_t* bits, std::int64_t units, std::int64_t rank,
                         const std::int32_t* group, std::int64_t rows, std::int32_t* scratch,
                         std::uint64_t* gates) {
    gates_by_tables(bits, units, rank, group, rows, scratch, gates);
}
void rademacher_gates_64(const std::uint32_t* bits, std::int64_t units, std::int64_t rank,
                         const std::int64_t* group, std::int64_t rows, std::int64_t* scratch,
                         std::uint64_t* gates) {
    gates_by_tables(bits, units, rank, group, rows, scratch, gates);
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(rademacher_group_32);
HWY_EXPORT(rademacher_group_64);
HWY_EXPORT(rademacher_gates_32);
HWY_EXPORT(rademacher_gates_64);

void rademacher_group(const GroupRows<std::int32_t>& h, std::int32_t* group) {
    HWY_DYNAMIC_DISPATCH(rademacher_group_32)(h, group);
}
void rademacher_group(const GroupRows<std::int64_t>& h, std::int64_t* group) {
    HWY_DYNAMIC_DISPATCH(rademacher_group_64)(h, group);
}
void rademacher_gates(const std::uint32_t* bits, std::int64_t units, std::int64_t rank,
                      const std::int32_t* group, std::int64_t rows, std::int32_t* scratch,
                      std::uint64_t* gates) {
    HWY_DYNAMIC_DISPATCH(rademacher_gates_32)(bits, units, rank, group, rows, scratch, gates);
}
void rademacher_gates(const std::uint32_t* bits, std::int64_t units, std::int64_t rank,
                      const std::int64_t* group, std::int64_t rows, std::int64_t* scratch,
                      std::uint64_t* gates) {
    HWY_DYNAMIC_DISPATCH(rademacher_gates_64)(bits, units, rank, group, rows, scratch, gates);
}

}  // namespace fntk::backend
#endif
