// What the kernels of the fused Gram share: operands, their tiles of K, and what becomes of two products.
//     K = alpha·(X X'ᵀ) ∘ (G G'ᵀ) + beta·K    X: n × d    X': n' × d    G: n × p    G': n' × p    K: n × n'
// K is written once, and read only when beta ≠ 0. Symmetric (X' is X and G' is G): tiles on and below the
// diagonal only, and of them the elements with j ≤ i, each written to both places: K is exactly symmetric,
// when it was for beta ≠ 0. A tile has `tile_rows / tile_cols` times more rows than columns, a whole
// number.
#pragma once

#include "grid.hpp"
#include "triangle.hpp"

namespace fntk::kernels {

template <class T, int tile_rows, int tile_cols>
struct HadamardTiles {
    Rows<const T> x, x_cols, g, g_cols;
    double alpha = 1, beta = 0;
    Rows<T> k;
    bool symmetric = false;

    FNTK_HD std::int64_t tiles() const {
        const std::int64_t down = ceil_div(k.rows, tile_rows);
        return symmetric ? ratio * triangle_size(down) : down * ceil_div(k.cols, tile_cols);
    }

  protected:
    static constexpr int ratio = tile_rows / tile_cols;
    static_assert(ratio * tile_cols == tile_rows);

    Launch launch_tiles(int threads, std::int64_t shared_bytes, const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(tiles(), 2 * limits.multiprocessors), threads, shared_bytes};
    }
    /// f(i0, j0): the first row and column of each tile of this block.
    template <class Grid, class F>
    FNTK_DEVICE void for_each_tile(Grid& grid, const F& f) const {
        const std::int64_t across = ceil_div(k.cols, tile_cols);
        for (std::int64_t t = grid.block(); t < tiles(); t += grid.blocks()) {
            const TilePlace tile =
                symmetric ? lower_tile(t, ratio) : TilePlace{t / across, t - t / across * across};
            const std::int64_t i0 = tile.row * tile_rows, j0 = tile.col * tile_cols;
            if (symmetric && j0 >= k.rows) continue;  // the last tile row may reach past K
            f(i0, j0);
        }
    }
    /// Element (i, j) from its two products; nothing outside K, or above the diagonal of a symmetric one.
    FNTK_DEVICE void write(std::int64_t i, std::int64_t j, T xx, T gg) const {
        if (i >= k.rows || j >= k.cols || (symmetric && j > i)) return;
        const T old = static_cast<T>(beta);
        T value = static_cast<T>(alpha) * xx * gg;
        if (old != T(0)) value += old * k.row(i)[j];
        k.row(i)[j] = value;
        if (symmetric && j < i) k.row(j)[i] = value;
    }
};

}  // namespace fntk::kernels
