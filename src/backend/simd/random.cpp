// A block's four words stand in four vectors, one 64-bit lane a block: a product of 32-bit words fills its
// lane, and what a lane holds above its word is never read.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/random.cpp"
#include <backend/simd/random.hpp>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<std::uint64_t>;
using V = hn::Vec<D>;

/// Of the low words of v.
HWY_INLINE V times(V v, std::uint32_t factor) {
#if HWY_TARGET == HWY_SCALAR
    return hn::Set(D(), (hn::GetLane(v) & 0xFFFFFFFFULL) * factor);
#else
    const hn::Repartition<std::uint32_t, D> words;
    return hn::MulEven(hn::BitCast(words, v), hn::Set(words, factor));
#endif
}

/// Blocks block, block + 1, ..., as many as a vector has lanes (kernels::random_block), as pairs of words.
HWY_INLINE void blocks_of(std::uint64_t seed, kernels::Stream stream, std::uint64_t block,
                          std::uint64_t* HWY_RESTRICT out) {
    const D d;
    auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
    V w0 = hn::Add(hn::Set(d, block), hn::Iota(d, 0)), w1 = hn::ShiftRight<32>(w0),
      w2 = hn::Set(d, static_cast<std::uint32_t>(stream)), w3 = hn::Set(d, kernels::scheme_version);
    for (int round = 0; round < 10; ++round) {
        const V a = times(w0, 0xD2511F53), b = times(w2, 0xCD9E8D57);
        w0 = hn::Xor(hn::ShiftRight<32>(b), hn::Xor(w1, hn::Set(d, key0)));
        w2 = hn::Xor(hn::ShiftRight<32>(a), hn::Xor(w3, hn::Set(d, key1)));
        w1 = b;
        w3 = a;
        key0 += 0x9E3779B9U;
        key1 += 0xBB67AE85U;
    }
    const V low = hn::Set(d, 0xFFFFFFFFULL);
    hn::StoreInterleaved2(hn::Or(hn::And(w0, low), hn::ShiftLeft<32>(w1)),
                          hn::Or(hn::And(w2, low), hn::ShiftLeft<32>(w3)), d, out);  // little-endian
}

void random_words_all(std::uint64_t seed, kernels::Stream stream, std::uint64_t first_word,
                      std::int64_t count, std::uint32_t* out) {
    const auto words = static_cast<std::int64_t>(4 * hn::Lanes(D()));
    HWY_ALIGN std::uint64_t pairs[2 * hn::MaxLanes(D())];
    auto skip = static_cast<std::int64_t>(first_word % 4);
    std::uint64_t block = first_word / 4;
    for (std::int64_t done = 0; done < count; block += static_cast<std::uint64_t>(words) / 4, skip = 0) {
        const std::int64_t taken = std::min(words - skip, count - done);
        blocks_of(seed, stream, block, pairs);
        if (taken == words)
            std::memcpy(out + done, pairs, 4 * static_cast<std::size_t>(words));
        else
            std::memcpy(out + done, reinterpret_cast<const std::byte*>(pairs) + 4 * skip,
                        4 * static_cast<std::size_t>(taken));
        done += taken;
    }
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(random_words_all);

void random_words(std::uint64_t seed, kernels::Stream stream, std::uint64_t first_word, std::int64_t count,
                  std::uint32_t* out) {
    HWY_DYNAMIC_DISPATCH(random_words_all)(seed, stream, first_word, count, out);
}

}  // namespace fntk::backend
#endif
