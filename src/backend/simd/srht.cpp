// The srht wide pass. H has ±1 entries and log2 P stages of additions; a stage of a transform whose vectors
// hold 64 (int8), 32 (int16) or 16 (int32) samples costs one addition per vector and nothing else. A sign
// flip of the input is the choice between two stored copies.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/srht.cpp"
#include <hwy/foreach_target.h>

#include <backend/simd/lanes-inl.hpp>

#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

template <class V>
HWY_INLINE void add_subtract(V& a, V& b) {
    const V sum = hn::Add(a, b);
    b = hn::Sub(a, b);
    a = sum;
}
template <class V>
HWY_INLINE void transform4(V& a, V& b, V& c, V& d) {
    add_subtract(a, c);
    add_subtract(b, d);
    add_subtract(a, b);
    add_subtract(c, d);
}
template <class V>
HWY_INLINE void transform8(V& a, V& b, V& c, V& d, V& e, V& f, V& g, V& h) {
    add_subtract(a, e);
    add_subtract(b, f);
    add_subtract(c, g);
    add_subtract(d, h);
    transform4(a, b, c, d);
    transform4(e, f, g, h);
}

/// One transform of 2^log vectors in registers: load(i), use(i, result).
template <int log, class Load, class Use>
HWY_INLINE void in_registers(const Load& load, const Use& use) {
    if constexpr (log == 0) {
        use(0, load(0));
    } else if constexpr (log == 1) {
        auto a = load(0), b = load(1);
        add_subtract(a, b);
        use(0, a), use(1, b);
    } else if constexpr (log == 2) {
        auto a = load(0), b = load(1), c = load(2), d = load(3);
        transform4(a, b, c, d);
        use(0, a), use(1, b), use(2, c), use(3, d);
    } else if constexpr (log == 3) {
        auto a = load(0), b = load(1), c = load(2), d = load(3);
        auto e = load(4), f = load(5), g = load(6), h = load(7);
        transform8(a, b, c, d, e, f, g, h);
        use(0, a), use(1, b), use(2, c), use(3, d), use(4, e), use(5, f), use(6, g), use(7, h);
    } else {
        auto a0 = load(0), a1 = load(1), a2 = load(2), a3 = load(3), a4 = load(4), a5 = load(5),
             a6 = load(6), a7 = load(7);
        auto b0 = load(8), b1 = load(9), b2 = load(10), b3 = load(11), b4 = load(12), b5 = load(13),
             b6 = load(14), b7 = load(15);
        add_subtract(a0, b0), add_subtract(a1, b1), add_subtract(a2, b2), add_subtract(a3, b3);
        add_subtract(a4, b4), add_subtract(a5, b5), add_subtract(a6, b6), add_subtract(a7, b7);
        transform8(a0, a1, a2, a3, a4, a5, a6, a7);
        use(0, a0), use(1, a1), use(2, a2), use(3, a3), use(4, a4), use(5, a5), use(6, a6), use(7, a7);
        transform8(b0, b1, b2, b3, b4, b5, b6, b7);
        use(8, b0), use(9, b1), use(10, b2), use(11, b3), use(12, b4), use(13, b5), use(14, b6),
            use(15, b7);
    }
}

/// Stages in one visit of memory: 16 vectors where there are 32 registers, 8 where there are 16. Vectors
/// that are arrays have no registers to save, and compilers spend minutes on more than 2 of them.
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
inline constexpr int max_log = 1;
#elif HWY_TARGET == HWY_SSSE3 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_AVX2
inline constexpr int max_log = 3;
#else
inline constexpr int max_log = 4;
#endif

template <int log, class Body>
HWY_INLINE void with_log(int value, const Body& body) {
    if constexpr (log > 0) {
        if (value != log) return with_log<log - 1>(value, body);
    }
    body(std::integral_constant<int, log>{});
}

/// Transforms over the upper `log` bits of the row index of an array of unit·2^log rows of one vector:
/// first(row) reads, last(row, result) writes, scratch keeps the rows in between.
template <class D, class First, class Last>
HWY_INLINE void stages(D d, std::int64_t unit, int log, hn::TFromD<D>* HWY_RESTRICT scratch,
                       const First& first, const Last& last) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t rows = unit << log;
    if (log <= max_log)
        return with_log<max_log>(log, [&](auto constant) FNTK_INLINE {
            for (std::int64_t j = 0; j < unit; ++j)
                in_registers<decltype(constant)::value>(
                    [&](std::int64_t i) FNTK_INLINE { return first(j + i * unit); },
                    [&](std::int64_t i, auto v) FNTK_INLINE { last(j + i * unit, v); });
        });
    const int rest = (log - max_log) % max_log;
    std::int64_t segment = rows;
    with_log<max_log>(rest == 0 ? max_log : rest, [&](auto constant) FNTK_INLINE {
        const std::int64_t step = rows >> decltype(constant)::value;
        for (std::int64_t j = 0; j < step; ++j)
            in_registers<decltype(constant)::value>(
                [&](std::int64_t i) FNTK_INLINE { return first(j + i * step); },
                [&](std::int64_t i, auto v)
                    FNTK_INLINE { hn::Store(v, d, scratch + (j + i * step) * lanes); });
        segment = step;
    });
    for (; segment > unit << max_log; segment >>= max_log) {
        const std::int64_t step = segment >> max_log;
        for (std::int64_t start = 0; start < rows; start += segment)
            for (std::int64_t j = start; j < start + step; ++j)
                in_registers<max_log>(
                    [&](std::int64_t i)
                        FNTK_INLINE { return hn::Load(d, scratch + (j + i * step) * lanes); },
                    [&](std::int64_t i, auto v)
                        FNTK_INLINE { hn::Store(v, d, scratch + (j + i * step) * lanes); });
    }
    for (std::int64_t start = 0; start < rows; start += segment)
        for (std::int64_t j = start; j < start + unit; ++j)
            in_registers<max_log>([&](std::int64_t i)
                                      FNTK_INLINE { return hn::Load(d, scratch + (j + i * unit) * lanes); },
                                  [&](std::int64_t i, auto v) FNTK_INLINE { last(j + i * unit, v); });
}

HWY_INLINE int log2_of(std::int64_t power) {
    int log = 0;
    while ((std::int64_t{1} << log) < power) ++log;
    return log;
}

// --- gates

/// Vector of samples by vector of samples, column by column: ĥ, −ĥ.
template <class Z>
void group_of(const GroupRows<Z>& h, std::int64_t padded, Z* HWY_RESTRICT group) {
    const Tag<Z> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t first = 0; first < h.rows; first += lanes)
        for (std::int64_t q = 0; q < padded; ++q, group += 2 * lanes) {
            const auto v = column(d, h, first, q);
            hn::Store(v, d, group);
            hn::Store(hn::Neg(v), d, group + lanes);
        }
}

template <class Z>
void gates_of(const SrhtBlocks& blocks, const Z* HWY_RESTRICT group, std::int64_t rows,
              Z* HWY_RESTRICT scratch, std::uint64_t* HWY_RESTRICT gates) {
    const Tag<Z> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t padded = blocks.padded;
    const int log = log2_of(padded);
    std::fill_n(gates, blocks.count * padded, std::uint64_t{0});
    for (std::int64_t first = 0; first < rows; first += lanes, group += 2 * padded * lanes)
        for (std::int64_t b = 0; b < blocks.count; ++b) {
            const std::uint32_t* HWY_RESTRICT picks = blocks.picks + b * padded;
            std::uint64_t* HWY_RESTRICT words = gates + b * padded;
            stages(
                d, 1, log, scratch,
                [&](std::int64_t q) FNTK_INLINE { return hn::Load(d, group + picks[q] * lanes); },
                [&](std::int64_t r, auto z) FNTK_INLINE { store_gates(d, z, first, words + r); });
        }
}

// --- gradients

/// 64 times 1, then 64 times −1.
struct PlusMinus {
    alignas(64) std::int8_t value[128];
    constexpr PlusMinus() : value() {
        for (int i = 0; i < 128; ++i) value[i] = static_cast<std::int8_t>(i < 64 ? 1 : -1);
    }
};
constexpr PlusMinus plus_minus;

/// The first min(P, 64) rows of a transform of entries in {−1, 0, 1} stay within int8: |sum| ≤ 64.
inline constexpr std::int64_t byte_rows = 64;
inline constexpr int byte_log = 6;

/// Wide holds the sums of all units of one call.
template <class Wide>
void gradients_of(const SrhtBlocks& blocks, const std::uint64_t* HWY_RESTRICT gates,
                  const std::uint8_t* HWY_RESTRICT negative_readout, std::int64_t rank,
                  std::int32_t* HWY_RESTRICT scratch, std::int32_t* HWY_RESTRICT sums) {
    const Tag<std::int8_t> bytes;
    const Tag<Wide> wide;
    const hn::Rebind<std::int8_t, Tag<Wide>> narrow;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(bytes));
    const auto wide_lanes = static_cast<std::int64_t>(hn::Lanes(wide));
    const std::int64_t padded = blocks.padded, unit = std::min(padded, byte_rows);
    const int log = log2_of(padded), inner = std::min(log, byte_log);
    auto* HWY_RESTRICT total = reinterpret_cast<Wide*>(scratch);               // rank × 64
    auto* HWY_RESTRICT middle = reinterpret_cast<Wide*>(scratch + 64 * rank);  // P × 64 bytes at most
    auto* HWY_RESTRICT row = reinterpret_cast<std::int8_t*>(scratch + 64 * rank + 16 * padded);
    auto* HWY_RESTRICT partial = reinterpret_cast<std::int8_t*>(scratch + 64 * rank + 32 * padded);
    std::fill_n(total, rank * group_samples, Wide{0});
    alignas(64) Wide masks[2][64 / sizeof(Wide)];
    std::fill_n(masks[0], 64 / sizeof(Wide), Wide{0});
    std::fill_n(masks[1], 64 / sizeof(Wide), Wide{-1});

    for (std::int64_t first = 0; first < group_samples; first += lanes)
        for (std::int64_t b = 0; b < blocks.count; ++b) {
            const std::uint32_t* HWY_RESTRICT picks = blocks.picks + b * padded;
            for (std::int64_t start = 0; start < padded; start += unit) {
                const std::uint64_t* HWY_RESTRICT words = gates + b * padded + start;
                const std::uint8_t* HWY_RESTRICT negative = negative_readout + b * padded + start;
                stages(
                    bytes, 1, inner, partial,
                    [&](std::int64_t r) FNTK_INLINE {
                        return where_open(bytes, hn::Load(bytes, plus_minus.value + 64 * negative[r]),
                                          first, words + r);
                    },
                    [&](std::int64_t r, auto v)
                        FNTK_INLINE { hn::Store(v, bytes, row + (start + r) * lanes); });
            }
            for (std::int64_t part = 0; part < lanes; part += wide_lanes)
                stages(
                    wide, unit, log - inner, middle,
                    [&](std::int64_t r) FNTK_INLINE {
                        return hn::PromoteTo(wide, hn::Load(narrow, row + r * lanes + part));
                    },
                    [&](std::int64_t q, auto v) FNTK_INLINE {
                        if (q >= rank) return;  // v or −v − 1; `negatives` of them are added below
                        Wide* to = total + q * group_samples + first + part;
                        const auto flip = hn::Load(wide, masks[picks[q] & 1]);
                        hn::Store(hn::Add(hn::Load(wide, to), hn::Xor(v, flip)), wide, to);
                    });
        }
    for (std::int64_t q = 0; q < rank; ++q)
        for (std::int64_t l = 0; l < group_samples; ++l)
            sums[q * group_samples + l] += total[q * group_samples + l] + blocks.negatives[q];
}

void srht_group_32(const GroupRows<std::int32_t>& h, std::int64_t padded, std::int32_t* group) {
    group_of(h, padded, group);
}
void srht_group_64(const GroupRows<std::int64_t>& h, std::int64_t padded, std::int64_t* group) {
    group_of(h, padded, group);
}
void srht_gates_32(const SrhtBlocks& blocks, const std::int32_t* group, std::int64_t rows,
                   std::int32_t* scratch, std::uint64_t* gates) {
    gates_of(blocks, group, rows, scratch, gates);
}
void srht_gates_64(const SrhtBlocks& blocks, const std::int64_t* group, std::int64_t rows,
                   std::int64_t* scratch, std::uint64_t* gates) {
    gates_of(blocks, group, rows, scratch, gates);
}
void srht_gradients_any(const SrhtBlocks& blocks, const std::uint64_t* gates,
                        const std::uint8_t* negative_readout, std::int64_t rank, std::int32_t* scratch,
                        std::int32_t* sums) {
    if (blocks.count * blocks.padded <= 1 << 14)
        gradients_of<std::int16_t>(blocks, gates, negative_readout, rank, scratch, sums);
    else
        gradients_of<std::int32_t>(blocks, gates, negative_readout, rank, scratch, sums);
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(srht_group_32);
HWY_EXPORT(srht_group_64);
HWY_EXPORT(srht_gates_32);
HWY_EXPORT(srht_gates_64);
HWY_EXPORT(srht_gradients_any);

void srht_group(const GroupRows<std::int32_t>& h, std::int64_t padded, std::int32_t* group) {
    HWY_DYNAMIC_DISPATCH(srht_group_32)(h, padded, group);
}
void srht_group(const GroupRows<std::int64_t>& h, std::int64_t padded, std::int64_t* group) {
    HWY_DYNAMIC_DISPATCH(srht_group_64)(h, padded, group);
}
void srht_gates(const SrhtBlocks& blocks, const std::int32_t* group, std::int64_t rows,
                std::int32_t* scratch, std::uint64_t* gates) {
    HWY_DYNAMIC_DISPATCH(srht_gates_32)(blocks, group, rows, scratch, gates);
}
void srht_gates(const SrhtBlocks& blocks, const std::int64_t* group, std::int64_t rows,
                std::int64_t* scratch, std::uint64_t* gates) {
    HWY_DYNAMIC_DISPATCH(srht_gates_64)(blocks, group, rows, scratch, gates);
}
void srht_gradients(const SrhtBlocks& blocks, const std::uint64_t* gates,
                    const std::uint8_t* negative_readout, std::int64_t rank, std::int32_t* scratch,
                    std::int32_t* sums) {
    HWY_DYNAMIC_DISPATCH(srht_gradients_any)(blocks, gates, negative_readout, rank, scratch, sums);
}

}  // namespace fntk::backend
#endif
