// The rademacher wide pass. The 16 possible signed sums of four neighbouring ĥ_q are tabulated once per
// group of samples; z is then one addition for four columns of V, whose bits are the index (the method of
// four Russians). Tables go through the nearest cache in chunks.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/rademacher.cpp"
#include <hwy/foreach_target.h>

#include <backend/simd/lanes-inl.hpp>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

// A table's entry holds two vectors, so that one index serves twice as many samples.

template <class Z>
void tables_of(const GroupRows<Z>& h, Z* HWY_RESTRICT group) {
    const Tag<Z> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t first = 0; first < h.rows; first += 2 * lanes)
        for (std::int64_t q = 0; q < h.rank; q += 4, group += 16 * 2 * lanes)
            for (std::int64_t half = 0; half < 2; ++half) {
                Z* HWY_RESTRICT table = group + half * lanes;
                auto sum = hn::Zero(d);
                for (std::int64_t j = 0; j < 4; ++j)
                    sum = hn::Sub(sum, column(d, h, first + half * lanes, q + j));
                hn::Store(sum, d, table);
                for (std::int64_t index = 1; index < 16; ++index) {  // one bit more than a smaller index
                    const std::int64_t bit = index & 1 ? 0 : index & 2 ? 1 : index & 4 ? 2 : 3;
                    const auto v = column(d, h, first + half * lanes, q + bit);
                    const auto without = hn::Load(d, table + (index & (index - 1)) * 2 * lanes);
                    hn::Store(hn::Add(without, hn::Add(v, v)), d, table + index * 2 * lanes);
                }
            }
}

inline constexpr std::int64_t strip = 128;      // units whose partial sums stay in the scratch array
inline constexpr std::int64_t chunk_words = 2;  // 64 columns, 16 tables of at most 2 KiB

/// Adds the columns of one word, `count` tables of them (at most eight), to the two halves of z.
template <class D, class Z, class V>
HWY_INLINE void add_tables(D d, const Z* HWY_RESTRICT tables, std::uint32_t bits, std::int64_t count, V& z0,
                           V& z1) {
    const auto lanes = hn::Lanes(d);
    const auto bytes = static_cast<std::uint64_t>(2 * lanes * sizeof(Z));  // of an entry: a power of two
    const auto* from = reinterpret_cast<const char*>(tables);
    const std::uint64_t offsets = bits * bytes;
    const auto add = [&](std::uint64_t t) FNTK_INLINE {
        const char* entry = from + 16 * bytes * t + (offsets >> (4 * t) & (15 * bytes));
        z0 = hn::Add(z0, hn::Load(d, reinterpret_cast<const Z*>(entry)));
        z1 = hn::Add(z1, hn::Load(d, reinterpret_cast<const Z*>(entry) + lanes));
    };
    if (HWY_LIKELY(count >= 8))
        add(0), add(1), add(2), add(3), add(4), add(5), add(6), add(7);
    else
        for (std::int64_t t = 0; t < count; ++t) add(static_cast<std::uint64_t>(t));
}

template <class Z>
void gates_by_tables(const std::uint32_t* HWY_RESTRICT bits, std::int64_t units, std::int64_t rank,
                     const Z* HWY_RESTRICT group, std::int64_t rows, Z* HWY_RESTRICT scratch,
                     std::uint64_t* HWY_RESTRICT gates) {
    const Tag<Z> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t words = (rank + 31) / 32, tables = (rank + 3) / 4;
    std::fill_n(gates, units, std::uint64_t{0});
    for (std::int64_t first = 0; first < rows; first += 2 * lanes, group += 16 * tables * 2 * lanes)
        for (std::int64_t u0 = 0; u0 < units; u0 += strip)
            for (std::int64_t w0 = 0; w0 < words; w0 += chunk_words) {
                const std::int64_t w1 = std::min(words, w0 + chunk_words);
                for (std::int64_t u = u0; u < std::min(units, u0 + strip); ++u) {
                    Z* HWY_RESTRICT kept = scratch + (u - u0) * 2 * lanes;
                    auto z0 = w0 == 0 ? hn::Zero(d) : hn::Load(d, kept);
                    auto z1 = w0 == 0 ? hn::Zero(d) : hn::Load(d, kept + lanes);
                    for (std::int64_t w = w0; w < w1; ++w)
                        add_tables(d, group + 8 * w * 16 * 2 * lanes, bits[u * words + w], tables - 8 * w,
                                   z0, z1);
                    if (w1 < words) {
                        hn::Store(z0, d, kept);
                        hn::Store(z1, d, kept + lanes);
                    } else {
                        store_gates(d, z0, first, gates + u);
                        store_gates(d, z1, first + lanes, gates + u);
                    }
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
