// What backends share whose memory is the host's.
#pragma once

#include <backend/ops.hpp>

namespace fntk::backend {

class HostMemory : public Ops {
  public:
    [[nodiscard]] Place place() const final { return Place::host; }
    [[nodiscard]] detail::Buffer allocate(std::int64_t rows, std::int64_t bytes_per_row) final {
        return detail::allocate(rows, bytes_per_row);
    }
    void copy(ConstMatrixView from, MatrixView to) final;
    void copy(ConstBitView from, BitView to) final;
    void zero(MatrixView matrix) final;
    void gather_rows(ConstMatrixView from, ConstMatrixView indices, MatrixView out) final;
    void square_roots(MatrixView v) final;
    void divide(ConstMatrixView a, ConstMatrixView b, MatrixView quotients, MatrixView least) final;
    void keep_above(ConstMatrixView x, ConstMatrixView limit, MatrixView v, MatrixView count) final;
};

}  // namespace fntk::backend
