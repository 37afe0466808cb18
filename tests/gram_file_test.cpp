// Gram matrices on disk: against those in memory for every kind of kernel; what is refused and what a
// refusal leaves behind; plans against the memory that is taken.
#include "gram_file_cases.hpp"
#include "remote.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <sys/resource.h>
#include <unistd.h>
#include <csignal>
#include <filesystem>
#include <limits>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::kernel;
using test::label;
using test::normals;
using test::of_network;
using test::relative_error;
using test::stop_after;
using test::TempFolder;
using Names = std::vector<std::string>;

class GramFile : public test::GramFileCase {};

TEST_F(GramFile, HoldsEveryKernel) {
    for (const DType precision : {DType::f32, DType::f64}) {
        const Matrix x = normals(13, 5, 1, precision), y = normals(8, 5, 2, precision);
        for (const KernelFunction& f : test::functions(precision)) {
            SCOPED_TRACE(label(f));
            const KernelBatch rows(cpu(), f, x), cols(cpu(), f, y);
            const Matrix square = kernel(f, x), oblong = kernel(f, x, y);
            for (const auto& [tile, dtype] :
                 {std::pair{std::int64_t{5}, DType::f32}, {std::int64_t{4}, DType::f64}}) {
                const double tolerance = precision == DType::f64 && dtype == DType::f64 ? 1e-12 : 1e-6;
                const GramFileResult result = save(rows, {.tile = tile, .dtype = dtype});
                EXPECT_EQ(result.plan.tiles, tile == 5 ? 6 : 10);
                EXPECT_EQ(result.done, result.plan.tiles);
                EXPECT_EQ(static_cast<std::int64_t>(bytes().size()), result.plan.file_bytes);
                const MappedNpy file(path());
                ASSERT_EQ(file.view().dtype, dtype);
                EXPECT_LT(relative_error(file.view(), square), tolerance);
                for (std::int64_t i = 0; i < square.rows(); ++i)
                    for (std::int64_t j = 0; j < i; ++j)
                        ASSERT_EQ(value(file.view(), i, j), value(file.view(), j, i));
                EXPECT_EQ(save_gram(path(), rows, cols, {.tile = tile, .dtype = dtype}).plan.tiles,
                          tile == 5 ? 6 : 8);
                EXPECT_LT(relative_error(MappedNpy(path()).view(), oblong), tolerance);
            }
        }
    }
    EXPECT_EQ(folder_.names(), Names{"K.npy"});
}

TEST_F(GramFile, OfOneTileHasTheBytesOfTheMatrix) {
    const Matrix x = normals(20, 5, 1, DType::f32);
    const KernelFunction f = of_network({.down = true}, KernelOutput::trace, DType::f32);
    const KernelBatch batch(cpu(), f, x);
    EXPECT_EQ(save(batch).plan.tiles, 1);
    save_npy(folder_.path("memory.npy"), kernel(f, x));
    EXPECT_EQ(bytes(), folder_.read("memory.npy"));
}

TEST_F(GramFile, OneSampleAndNone) {
    const Matrix one = normals(1, 5, 1), none(0, 5, DType::f64);
    for (const KernelFunction& f : test::functions(DType::f64)) {
        SCOPED_TRACE(label(f));
        const KernelBatch single(cpu(), f, one), empty(cpu(), f, none);
        EXPECT_EQ(save(single).done, 1);
        EXPECT_LT(relative_error(MappedNpy(path()).view(), kernel(f, one)), 1e-12);
        for (const auto& [rows, cols] : {std::pair{&empty, &empty}, {&single, &empty}, {&empty, &single}}) {
            EXPECT_EQ(save_gram(path(), *rows, *cols).done, 0);
            const MappedNpy file(path());
            EXPECT_EQ(file.view().rows, rows->rows());
            EXPECT_EQ(file.view().cols, cols->rows());
        }
    }
}

// ---- files -------------------------------------------------------------------------------------------

TEST_F(GramFile, ReplacesWhatIsThere) {
    const Matrix x = normals(17, 5, 1), y = normals(17, 5, 2);
    const KernelFunction f = of_network({.up = true}, KernelOutput::trace);
    const KernelBatch batch(cpu(), f, x), other(cpu(), f, y);
    const std::string expected = whole(batch, batch, {.tile = 5});
    std::ignore = folder_.write("target.npy", "old");
    std::filesystem::create_symlink("target.npy", path());
    std::ignore = save(other, {.tile = 5, .progress = stop_after(3)});
    EXPECT_EQ(folder_.read("target.npy"), "old");
    EXPECT_EQ(save(batch, {.tile = 5}).reused, 0);  // without `resume` the other run is forgotten
    EXPECT_TRUE(std::filesystem::is_symlink(path()));
    EXPECT_TRUE(folder_.read("target.npy") == expected);
    EXPECT_EQ(folder_.names(), (Names{"K.npy", "target.npy"}));
}

TEST_F(GramFile, IsWrittenByOneAtATime) {
    const Matrix x = normals(17, 5, 1);
    const KernelBatch batch(cpu(), of_network({.up = true}, KernelOutput::trace), x);
    int refused = 0;
    const GramFileResult result =
        save(batch, {.tile = 5, .progress = [&](double) {
                         for (const bool resume : {false, true})
                             if (!std::filesystem::exists(path())) {
                                 expect_parts(error_of<IoError>([&] {
                                                  std::ignore = save(batch, {.tile = 5, .resume = resume});
                                              }),
                                              {"K.npy", "another process"});
                                 ++refused;
                             }
                         return true;
                     }});
    EXPECT_EQ(refused, 18);
    EXPECT_FALSE(result.cancelled);
    EXPECT_TRUE(bytes() == whole(batch, batch, {.tile = 5}));
    EXPECT_EQ(folder_.names(), Names{"K.npy"});
}

TEST_F(GramFile, LeavesAFileThatTookItsPlace) {
    const Matrix x = normals(7, 5, 1);
    const KernelBatch batch(cpu(), of_network({.up = true}, KernelOutput::trace), x);
    const std::string partial = folder_.path("K.npy.partial");
    std::ignore = folder_.write("K.npy", "old");
    for (const bool removed : {false, true}) {
        const Progress swap = [&](double) {
            std::filesystem::remove(partial);
            if (!removed) std::ignore = folder_.write("K.npy.partial", "another's");
            return true;
        };
        expect_parts(error_of<IoError>([&] { std::ignore = save(batch, {.tile = 4, .progress = swap}); }),
                     {path(), partial, "replaced or removed", "start anew"});
        EXPECT_EQ(bytes(), "old");
        EXPECT_EQ(folder_.read("K.npy.partial"), removed ? "" : "another's");
    }
    EXPECT_FALSE(save(batch, {.tile = 4}).cancelled);
    EXPECT_EQ(folder_.names(), Names{"K.npy"});
}

TEST_F(GramFile, ReportsItsShare) {
    const Matrix x = normals(17, 5, 1);
    const KernelBatch batch(cpu(), of_network({.up = true}, KernelOutput::trace), x);
    std::vector<double> shares;
    std::ignore =
        save(batch, {.tile = 5, .progress = [&](double share) { return shares.push_back(share), true; }});
    ASSERT_EQ(shares.size(), 10U);
    EXPECT_DOUBLE_EQ(shares[0], 25.0 / 289);
    EXPECT_DOUBLE_EQ(shares[1], 75.0 / 289);  // a tile and its mirror
    EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
    EXPECT_DOUBLE_EQ(shares.back(), 1);
}

TEST_F(GramFile, LeavesNothingWhereItCannotBegin) {
    const Matrix x = normals(200, 5, 1);
    const KernelFunction f = of_network({.up = true}, KernelOutput::trace);
    const KernelBatch batch(cpu(), f, x),
        other(cpu(), KernelFunction::limit({}, {.up = true}, 5, DType::f64), x);
    std::ignore = folder_.write("K.npy", "old");
    std::filesystem::create_directory(folder_.path("folder"));
    const Names before = folder_.names();
    const auto refusal = [&](const std::string& at) {
        return error_of<IoError>([&] { std::ignore = save_gram(at, batch, batch); });
    };
    expect_parts(refusal(folder_.path("folder")), {"it is a directory"});
    expect_parts(refusal(folder_.path("none/K.npy")), {"No such file", "create its folder"});
    expect_parts(refusal("/dev/null"), {"a device or a stream"});
    expect_parts(refusal(folder_.path("folder/")), {"cannot be written"});
    for (const GramFileOptions& bad : {GramFileOptions{.memory = -1}, {.tile = -1}, {.dtype = DType::i32}})
        EXPECT_THROW(std::ignore = save(batch, bad), ValueError);
    EXPECT_THROW(std::ignore = save(batch, {.memory = 1000}), MemoryError);
    EXPECT_THROW(std::ignore = save_gram(path(), batch, other), ValueError);
    EXPECT_EQ(folder_.names(), before);

    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{.rlim_cur = 100'000, .rlim_max = limit.rlim_max};  // as on a full disk
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const std::string text = refusal(path());
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, handler);
    expect_parts(text, {path(), "File too large", "it needs 320128 bytes", "are free"});
    EXPECT_EQ(folder_.names(), before);
    EXPECT_EQ(bytes(), "old");
}

TEST_F(GramFile, NamesAFolderThatCannotBeWritten) {
    const Matrix x = normals(17, 5, 1);
    const KernelBatch batch(cpu(), of_network({.up = true}, KernelOutput::trace), x);
    std::filesystem::permissions(folder_.path("."), std::filesystem::perms(0555));
    const bool root = ::geteuid() == 0;
    if (root) {
        ASSERT_EQ(::seteuid(65534), 0);
    }
    const std::string text = error_of<IoError>([&] { std::ignore = save(batch); });
    if (root) {
        ASSERT_EQ(::seteuid(0), 0);
    }
    std::filesystem::permissions(folder_.path("."), std::filesystem::perms(0755));
    expect_parts(text, {path(), "Permission denied", "choose a folder you may write to"});
    EXPECT_TRUE(folder_.names().empty());
}

// ---- devices and plans -------------------------------------------------------------------------------

TEST_F(GramFile, WorksInADevicesOwnMemory) {
    const test::RemoteDevice owner;
    const Matrix x = normals(17, 5, 1), y = normals(12, 5, 2);
    for (const KernelFunction& f : test::functions(DType::f64))
        for (const DType dtype : {DType::f32, DType::f64}) {
            SCOPED_TRACE(label(f));
            const KernelBatch here(cpu(), f, x), here_cols(cpu(), f, y), there(owner.device, f, x),
                there_cols(owner.device, f, y);
            const GramFileOptions options{.tile = 5, .dtype = dtype},
                resume{.dtype = dtype, .resume = true};
            EXPECT_TRUE(whole(there, there, options) == whole(here, here, options));
            EXPECT_TRUE(whole(there, there_cols, options) == whole(here, here_cols, options));
            GramFileOptions first = options;
            first.progress = stop_after(4);
            std::ignore = save(there, first);
            EXPECT_EQ(save(here, resume).reused, 4);  // the fingerprint names no device
            EXPECT_TRUE(bytes() == whole(here, here, options));
        }
}

TEST_F(GramFile, RefusesAKernelThatOverflows) {
    Matrix x = normals(9, 5, 1, DType::f32);
    for (std::int64_t j = 0; j < 5; ++j) x.at<float>(7, j) *= 1e25F;
    const KernelBatch rows(cpu(), of_network({.down = true}, KernelOutput::trace, DType::f32), x);
    expect_parts(error_of<ValueError>([&] { save(rows, {.tile = 4}); }),
                 {"inf", "row 7", "column 7", "float32", "float64"});
    EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST(SlowGramFilePlan, KeepsItsPromise) {
    std::mt19937_64 random(7);
    const auto between = [&](std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
    };
    const test::RemoteDevice owner;
    const TempFolder folder;
    int written = 0, refused = 0, divided = 0;
    while (written < 80) {
        const bool large = between(0, 7) == 0;  // tiles that outweigh the workspaces
        const std::int64_t n = between(1, 400) + (large ? 1200 : 0),
                           m = between(1, 400) + (large ? 1200 : 0),
                           d = between(4, 40) * (between(0, 4) == 0 ? 40 : 1);
        const DType precision = between(0, 1) == 0 ? DType::f32 : DType::f64;
        const Train train = test::all_trains[between(0, 6)];
        constexpr Activation kinds[] = {Activation::relu, Activation::leaky_relu, Activation::erf,
                                        Activation::tanh};
        const ActivationSpec activation{kinds[between(0, 3)], 0.1};
        const KernelOutput output = static_cast<KernelOutput>(between(0, 2));
        const bool limit = between(0, 3) == 0 && activation.kind != Activation::tanh;
        const KernelFunction f =
            limit ? KernelFunction::limit(activation, train, d, precision)
                  : KernelFunction::of_network(Network::create({.dim = d,
                                                                .width = 64 * between(1, 20),
                                                                .rank = between(0, 1) == 0 ? 4 : 32,
                                                                .outputs = between(1, 3),
                                                                .down = Down::gaussian,
                                                                .train = train,
                                                                .activation = activation,
                                                                .precision = precision}),
                                               output);
        const bool symmetric = between(0, 1) == 0;
        GramFileOptions options{
            .memory = large ? std::int64_t{1} << 40 : (std::int64_t{24} << 20) + between(1, 6000) * 1000,
            .dtype = between(0, 1) == 0 ? DType::f32 : DType::f64};
        const std::optional<std::int64_t> cols = symmetric ? std::nullopt : std::optional(m);
        GramFilePlan plan;
        try {
            plan = plan_gram_file(f, n, cols, options);
        } catch (const MemoryError& error) {
            const std::string text = error.what();  // the budget it names works, and 1 MiB less does not
            options.memory = std::stoll(text.substr(text.find("takes ") + 6)) << 20;
            EXPECT_LE(plan_gram_file(f, n, cols, options).peak_bytes, options.memory);
            options.memory -= 1 << 20;
            EXPECT_THROW((void)plan_gram_file(f, n, cols, options), MemoryError);
            ++refused;
            continue;
        }
        SCOPED_TRACE(label(f) + ", d " + std::to_string(d) + ": " + plan.reason);
        EXPECT_LE(plan.peak_bytes, options.memory);
        if (plan.tile < std::min<std::int64_t>(n, 2048 / f.outputs() / 2)) {  // the largest that fits
            ++divided;
            GramFileOptions twice{.tile = 2 * plan.tile, .dtype = options.dtype};
            EXPECT_GT(plan_gram_file(f, n, cols, twice).peak_bytes, options.memory / 16 * 15);
        }
        const Device device = between(0, 1) == 0 ? cpu() : owner.device;
        const Matrix x = normals(n, d, 1, precision), y = normals(m, d, 2, precision);
        const KernelBatch rows(device, f, x);
        std::optional<KernelBatch> others;
        if (!symmetric) others.emplace(device, f, y);
        reset_memory_peak();
        const std::int64_t before = memory_use(device.place()).current;
        const GramFileResult result =
            save_gram(folder.path("K.npy"), rows, symmetric ? rows : *others, options);
        // of one thread's workspaces 8 MiB are enough, so that what the tiles take is tested too
        const std::int64_t promised = plan.peak_bytes - (std::int64_t{16} << 20);
        EXPECT_LE(memory_use(device.place()).peak - before, promised);
        EXPECT_EQ(result.plan.reason, plan.reason);
        EXPECT_EQ(result.done, plan.tiles);
        EXPECT_EQ(static_cast<std::int64_t>(std::filesystem::file_size(folder.path("K.npy"))),
                  plan.file_bytes);
        ++written;
    }
    EXPECT_LT(refused, 80);
    EXPECT_GT(divided, 10);
}

TEST(GramFilePlan, CountsWhatNoDiskHolds) {
    const KernelFunction f = KernelFunction::limit({}, {.up = true}, 5, DType::f32);
    const GramFilePlan plan = plan_gram_file(f, 1'000'000, {}, {.memory = std::int64_t{4} << 30});
    EXPECT_EQ(plan.tile, 2048);
    EXPECT_EQ(plan.tiles, 489 * 490 / 2);
    EXPECT_EQ(plan.file_bytes, 4'000'000'000'128);
    EXPECT_DOUBLE_EQ(plan.flops, 1e6 * (1e6 + 1) / 2 * 10);
    expect_parts(plan.reason, {"1000000 × 1000000 float32", "119805 tiles of 2048 samples"});
    EXPECT_EQ(plan_gram_file(f, 1'000'000, 10).tiles, 489);
    EXPECT_EQ(plan_gram_file(of_network({.up = true}, KernelOutput::full), 1000, {}).tile, 512);  // 2048/3
    expect_parts(error_of<ValueError>([&] { (void)plan_gram_file(f, std::int64_t{1} << 40, {}); }),
                 {"1099511627776", "2^63"});
    EXPECT_EQ(plan_gram_file(f, std::numeric_limits<std::int64_t>::max(), 0).file_bytes, 128);
    EXPECT_EQ(plan_gram_file(f, 0, std::numeric_limits<std::int64_t>::max()).file_bytes, 128);
    EXPECT_THROW((void)plan_gram_file(f, -1, {}), ValueError);
    EXPECT_THROW((void)plan_gram_file(f, 1, -1), ValueError);
}

}  // namespace
}  // namespace fntk
