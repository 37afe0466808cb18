// What the kernels of the fused Gram share: tiles of K, and what becomes of two products.
//     K = alpha·(X X'ᵀ) ∘ (G G'ᵀ)    X: n × d    X': n' × d    G: n × p    G': n' × p    K: n × n'
// Symmetric (X' is X and G' is G): tiles on and below the diagonal only, and of them the elements with
// j ≤ i, each written to both places: K is exactly symmetric.
#pragma once

#include "grid.hpp"
#include "triangle.hpp"

namespace fntk::kernels {

template <class T, int tile_size_>
struct HadamardTiles {
    static constexpr int tile_size = tile_size_;

    T alpha;
    Rows<T> k;
    bool symmetric;
    std::int64_t down, across, tiles;  // tiles of a column, of a row, in all

    HadamardTiles(double alpha_, const Rows<T>& k_, bool symmetric_)
        : alpha(static_cast<T>(alpha_)),
          k(k_),
          symmetric(symmetric_),
          down(ceil_div(k.rows, tile_size)),
          across(ceil_div(k.cols, tile_size)),
          tiles(symmetric ? triangle_size(down) : down * across) {}

  protected:
    Launch launch_tiles(int threads, std::int64_t shared_bytes, const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(tiles, 64 * limits.multiprocessors), threads, shared_bytes};
    }
    /// f(i0, j0): the first row and column of each tile of this block.
    template <class Grid, class F>
    FNTK_DEVICE void for_each_tile(Grid& grid, const F& f) const {
        for (std::int64_t t = grid.block(); t < tiles; t += grid.blocks()) {
            const TilePlace at = symmetric ? lower_tile(t, down) : tile_place(t, down, across);
            f(at.row * tile_size, at.col * tile_size);
        }
    }
    /// Whether this element is in K, and is not another's mirror image.
    FNTK_DEVICE bool is_own(std::int64_t i, std::int64_t j) const {
        return i < k.rows && j < k.cols && !(symmetric && j > i);
    }
    FNTK_DEVICE void write(std::int64_t i, std::int64_t j, T xx, T gg) const {
        if (!is_own(i, j)) return;
        const T value = alpha * xx * gg;
        k.row(i)[j] = value;
        if (symmetric && j < i) k.row(j)[i] = value;
    }
};

}  // namespace fntk::kernels
