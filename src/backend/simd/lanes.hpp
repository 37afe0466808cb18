// The wide pass in integers, 64 samples at a time: every vector holds one quantity of several samples, so
// that no step moves data between lanes. Compiled for every instruction set and chosen at run time; all of
// it is integer arithmetic, so every target gives the same bits.
//
// A group is up to 64 samples. Its gates are one 64-bit word per unit of the width, bit l for sample l; its
// sums are rank × 64 int32. Z is int32 or int64, the type of ĥ and z. Buffers are aligned to 64 bytes.
#pragma once

#include <cstdint>

namespace fntk::backend {

inline constexpr std::int64_t group_samples = 64;

/// Rows of ĥ that make up a group.
template <class Z>
struct GroupRows {
    const Z* first = nullptr;
    std::int64_t stride = 0, rows = 0, rank = 0;  // 1 ≤ rows ≤ 64
};

/// Blocks H_P·diag(±1) of an srht V.
struct SrhtBlocks {
    std::int64_t count = 0, padded = 0;       // blocks, P
    const std::uint32_t* picks = nullptr;     // count × P: 2q + (1 where the sign of column q is −1)
    const std::int32_t* negatives = nullptr;  // P: how many of the blocks have a −1 in column q
};

/// ±ĥ, the form that srht_gates reads: 2·P·64 entries.
void srht_group(const GroupRows<std::int32_t>& h, std::int64_t padded, std::int32_t* group);
void srht_group(const GroupRows<std::int64_t>& h, std::int64_t padded, std::int64_t* group);
/// gates (count·P words): z = H (s ∘ ĥ) > 0, by Walsh–Hadamard transforms. scratch: 16·P entries.
void srht_gates(const SrhtBlocks& blocks, const std::int32_t* group, std::int64_t rows,
                std::int32_t* scratch, std::uint64_t* gates);
void srht_gates(const SrhtBlocks& blocks, const std::int64_t* group, std::int64_t rows,
                std::int64_t* scratch, std::uint64_t* gates);
/// sums += Σ_blocks s ∘ H (a ∘ gate), in transforms of int8, then int16 (int32 for P > 2^14).
/// negative_readout: count·P flags, 1 where a = −1. At most max(P, 2^14) units in all. scratch:
/// (P + rank)·64 int32 entries.
void srht_gradients(const SrhtBlocks& blocks, const std::uint64_t* gates,
                    const std::uint8_t* negative_readout, std::int64_t rank, std::int32_t* scratch,
                    std::int32_t* sums);

/// The 16 signed sums of every four neighbours of ĥ, the form that rademacher_gates reads:
/// ⌈rank/4⌉·16·64 entries.
void rademacher_group(const GroupRows<std::int32_t>& h, std::int32_t* group);
void rademacher_group(const GroupRows<std::int64_t>& h, std::int64_t* group);
/// gates (units words): z = ĥ Vᵀ > 0, four columns of V at a time. bits: units × ⌈rank/32⌉ words of V,
/// a set bit +1. scratch: 256·16 entries.
void rademacher_gates(const std::uint32_t* bits, std::int64_t units, std::int64_t rank,
                      const std::int32_t* group, std::int64_t rows, std::int32_t* scratch,
                      std::uint64_t* gates);
void rademacher_gates(const std::uint32_t* bits, std::int64_t units, std::int64_t rank,
                      const std::int64_t* group, std::int64_t rows, std::int64_t* scratch,
                      std::uint64_t* gates);

}  // namespace fntk::backend
