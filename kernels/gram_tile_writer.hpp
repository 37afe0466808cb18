// A finished tile of K (hadamard_tiles.hpp) from shared memory to K and, symmetric, to its mirror image, by
// one warpgroup, a share of it at a time.
//     tile[r·pitch + c] → K[i0 + r][j0 + c] and K[j0 + c][i0 + r]    r, c = 0..127
// `pitch` is 8 modulo 32 banks: pairs of the registers of wgmma, 4 rows × 4 pairs at once, take every bank
// once, and so do 4 rows × 8 columns of single elements.
//
// Share s = 0..31, where K's rows are aligned to 16 bytes and the tile is whole and the block's own: four
// rows of K, a warp 512 bytes of one; of the image 4 × (8 rows of 64 bytes), two shares the same rows. A
// lane has four neighbours of a column there, which it reads in an order of its own: lane % 4 in turn the
// first. Else rows 4s to 4s + 3, element by element, of which a warp has 4 × 8 at once.
#pragma once

#include "hadamard_digits.hpp"
#include "warpgroup.hpp"

namespace fntk::kernels {

struct alignas(8) TwoFloats {
    float value[2];
};
struct alignas(16) FourFloats {
    float value[4];
};

struct GramTileWriter {
    static constexpr int size = DigitTiles::rows, pitch = size + 8, floats = size * pitch, shares = 32;
    static_assert(pitch % 32 == 8);

    const HadamardDigits& gram;
    const float* tile;
    std::int32_t down = 0, across = 0;  // i0 and j0, in tiles
    int written = shares;               // of the tile; all of them: there is none to write

    FNTK_DEVICE bool done() const { return written == shares; }
    FNTK_DEVICE void take(std::int64_t i0, std::int64_t j0) {
        down = static_cast<std::int32_t>(i0 / size);
        across = static_cast<std::int32_t>(j0 / size);
        written = 0;
    }
    /// The next `count` shares, or what is left.
    FNTK_DEVICE void write(auto& grid, int count) {
        const int end = smaller(written + count, shares);
        if (in_fours()) {
            FNTK_UNROLL_BY(1)
            for (; written < end; ++written) {
                write_row(grid);
                if (gram.symmetric) write_image(grid);
            }
        } else {
            FNTK_UNROLL_BY(1)
            for (; written < end; ++written) write_elements(grid);
        }
    }

  private:
    FNTK_DEVICE bool in_fours() const {
        const Rows<float>& k = gram.k;
        return k.stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(k.data) % 16 == 0 &&
               row(size) <= k.rows && col(size) <= k.cols && !(gram.symmetric && across >= down);
    }
    FNTK_DEVICE std::int64_t row(std::uint32_t r) const { return std::int64_t{down} * size + r; }
    FNTK_DEVICE std::int64_t col(std::uint32_t c) const { return std::int64_t{across} * size + c; }
    /// One instruction; nvcc makes four of an assignment of values that it has selected.
    FNTK_DEVICE static void store(float* to, const FourFloats& v) {
#ifdef __CUDA_ARCH__
        __stwb(reinterpret_cast<float4*>(to), make_float4(v.value[0], v.value[1], v.value[2], v.value[3]));
#else
        *reinterpret_cast<FourFloats*>(to) = v;
#endif
    }
    FNTK_DEVICE void write_row(auto& grid) const {
        const auto thread = static_cast<std::uint32_t>(grid.late_thread()),
                   r = 4 * static_cast<std::uint32_t>(written) + thread / 32, c = thread % 32 * 4;
        store(gram.k.row(row(r)) + col(c), *reinterpret_cast<const FourFloats*>(tile + r * pitch + c));
    }
    FNTK_DEVICE void write_image(auto& grid) const {
        const auto thread = static_cast<std::uint32_t>(grid.late_thread()),
                   share = static_cast<std::uint32_t>(written), turn = thread % 4,
                   r = share % 2 * 64 + thread / 32 * 16 + 4 * turn, c = share / 2 * 8 + thread % 32 / 4;
        float v[4];  // of row r + (turn + e) % 4
        FNTK_UNROLL
        for (std::uint32_t e = 0; e < 4; ++e) v[e] = tile[(r + (turn + e) % 4) * pitch + c];
        const bool by_one = turn % 2 != 0, by_two = turn / 2 != 0;
        const float w[4] = {by_one ? v[3] : v[0], by_one ? v[0] : v[1], by_one ? v[1] : v[2],
                            by_one ? v[2] : v[3]};
        store(gram.k.row(col(c)) + row(r),
              {{by_two ? w[2] : w[0], by_two ? w[3] : w[1], by_two ? w[0] : w[2], by_two ? w[1] : w[3]}});
    }
    FNTK_DEVICE void write_elements(auto& grid) const {
        const auto thread = static_cast<std::uint32_t>(grid.late_thread()),
                   r = 4 * static_cast<std::uint32_t>(written) + thread % 32 / 8,
                   c = thread / 32 * 32 + thread % 8;
        const std::int64_t i = row(r);
        FNTK_UNROLL_BY(1)
        for (std::uint32_t e = 0; e < 32; e += 8) {
            const std::int64_t j = col(c + e);
            if (!gram.is_own(i, j)) continue;
            const float value = tile[r * pitch + c + e];
            gram.k.row(i)[j] = value;
            if (gram.symmetric && i != j) gram.k.row(j)[i] = value;
        }
    }
};

}  // namespace fntk::kernels
