// Columns with numbers of their own, and work that is recorded once and replayed as a CUDA graph.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <columns.hpp>

#include <exception>

namespace fntk::backend::cuda {

namespace {

/// 1 × s doubles, or none.
const double* numbers_of(ConstMatrixView row) {
    return row.data == nullptr ? nullptr : rows_of<double>(row).data;
}
double* numbers_of(MatrixView row) { return row.data == nullptr ? nullptr : rows_of<double>(row).data; }

/// The first run() issues the work itself, which makes whatever handles and settings it needs; the second
/// records it as a graph, and from then on the graph is launched. Where the work cannot be recorded it is
/// issued every time.
class Recorded final : public Repeated {
  public:
    Recorded(std::shared_ptr<Context> context, std::function<void()> work)
        : context_(std::move(context)), work_(std::move(work)) {}
    ~Recorded() override { drop(); }
    Recorded(const Recorded&) = delete;
    Recorded& operator=(const Recorded&) = delete;

    void run() override {
        const Scope scope(*context_, "repeated");
        if (runs_++ == 1) record();
        if (graph_ == nullptr) return work_();
        const cudaError_t code = cudaGraphLaunch(graph_, context_->stream());
        if (code != cudaErrorMemoryAllocation) return context_->check(code, "launching a graph");
        cudaGetLastError();  // a graph has memory of its own, beside the handle's pool
        drop();
        work_();
    }

  private:
    void drop() noexcept {
        if (graph_ == nullptr) return;
        cudaGraphExecDestroy(graph_);
        graph_ = nullptr;
        cudaDeviceGraphMemTrim(context_->ordinal());
        cudaGetLastError();
    }
    void record() {
        const cudaStream_t stream = context_->stream();
        // While one that waits for the legacy stream is recorded, no thread may use that.
        unsigned flags = 0;
        if (cudaStreamGetFlags(stream, &flags) != cudaSuccess || (flags & cudaStreamNonBlocking) == 0) {
            cudaGetLastError();
            return;
        }
        if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
            cudaGetLastError();  // a stream of the caller's that cannot be captured, or is being captured
            return;
        }
        cudaGraph_t graph = nullptr;
        try {
            work_();
        } catch (const std::exception&) {  // nothing has run: what is wrong shows again when it is issued
            cudaStreamEndCapture(stream, &graph);
            if (graph != nullptr) cudaGraphDestroy(graph);
            cudaGetLastError();
            return;
        }
        if (cudaStreamEndCapture(stream, &graph) == cudaSuccess &&
            cudaGraphInstantiateWithFlags(&graph_, graph, 0) != cudaSuccess)
            graph_ = nullptr;
        if (graph != nullptr) cudaGraphDestroy(graph);
        cudaGetLastError();
    }

    std::shared_ptr<Context> context_;
    std::function<void()> work_;
    cudaGraphExec_t graph_ = nullptr;
    int runs_ = 0;
};

}  // namespace

void Cuda::combine_columns(double a, ConstMatrixView alpha, ConstMatrixView x, double b,
                           ConstMatrixView beta, MatrixView y) {
    const Scope scope(*context_, "combine_columns");
    with_real(y.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::CombineColumns<T>{a, numbers_of(alpha), rows_of<T>(x), b, numbers_of(beta),
                                                 rows_of<T>(y)});
    });
}

void Cuda::column_dots(ConstMatrixView a, ConstMatrixView b, MatrixView sums) {
    const Scope scope(*context_, "column_dots");
    const std::int64_t slots = kernels::ColumnSlots(a.rows, a.cols).slots;
    const Scratch<double> of_slots(*context_, slots, a.cols);
    with_real(a.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::ColumnDots<T>{rows_of<T>(a), rows_of<T>(b), of_slots.data()});
    });
    context_->run(kernels::FinishColumnDots{of_slots.data(), slots, a.cols, numbers_of(sums)});
}

void Cuda::square_roots(MatrixView v) {
    const Scope scope(*context_, "square_roots");
    context_->run(kernels::SquareRoots{numbers_of(v), v.cols});
}

void Cuda::divide(ConstMatrixView a, ConstMatrixView b, MatrixView quotients, MatrixView least) {
    const Scope scope(*context_, "divide");
    context_->run(
        kernels::Divide{numbers_of(a), numbers_of(b), numbers_of(quotients), numbers_of(least), a.cols});
}

void Cuda::keep_above(ConstMatrixView x, ConstMatrixView limit, MatrixView v, MatrixView count) {
    const Scope scope(*context_, "keep_above");
    context_->run(
        kernels::KeepAbove{numbers_of(x), numbers_of(limit), numbers_of(v), numbers_of(count), x.cols});
}

std::unique_ptr<Repeated> Cuda::repeated(std::function<void()> work) {
    return std::make_unique<Recorded>(context_, std::move(work));
}

}  // namespace fntk::backend::cuda
