// Gram files that were stopped, damaged or begun for another matrix, and what resuming makes of them.
#include "gram_file_cases.hpp"

#include <fntk/error.hpp>

#include <algorithm>
#include <filesystem>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::normals;
using test::of_network;
using test::stop_after;
using Names = std::vector<std::string>;

class GramFileResume : public test::GramFileCase {};

TEST_F(GramFileResume, GoesOnAfterEveryTileToTheSameBytes) {
    const Matrix x = normals(17, 5, 1, DType::f32), y = normals(12, 5, 2, DType::f32);
    for (const KernelOutput output : {KernelOutput::trace, KernelOutput::full}) {
        const KernelFunction f = of_network({.down = true, .up = true}, output, DType::f32);
        const KernelBatch rows(cpu(), f, x), other(cpu(), f, y);
        for (const KernelBatch* cols : {&rows, &other}) {
            const GramFileOptions options{.tile = 5, .dtype = DType::f64};
            const std::string expected = whole(rows, *cols, options);
            const int tiles = cols == &rows ? 10 : 12;
            for (int stop = 1; stop < tiles; ++stop) {
                GramFileOptions first = options, second{.dtype = DType::f64, .resume = true};
                first.progress = stop_after(stop);
                const GramFileResult stopped = save_gram(path(), rows, *cols, first);
                EXPECT_TRUE(stopped.cancelled);
                EXPECT_EQ(stopped.done, stop);
                EXPECT_EQ(folder_.names(), unfinished_);
                const GramFileResult resumed = save_gram(path(), rows, *cols, second);
                EXPECT_EQ(resumed.plan.tile, 5);  // that of what is resumed
                EXPECT_EQ(resumed.reused, stop);
                EXPECT_EQ(resumed.done, tiles);
                EXPECT_EQ(folder_.names(), Names{"K.npy"});
                EXPECT_TRUE(bytes() == expected);
                std::filesystem::remove(path());
            }
            GramFileOptions little = options;  // a tile more every time
            little.resume = true;
            for (int run = 1; run < tiles; ++run) {
                little.progress = stop_after(run);
                const GramFileResult result = save_gram(path(), rows, *cols, little);
                EXPECT_EQ(result.reused, run - 1);
                EXPECT_EQ(result.done, run);
            }
            little.progress = stop_after(tiles);  // nothing is left to be stopped
            EXPECT_FALSE(save_gram(path(), rows, *cols, little).cancelled);
            EXPECT_TRUE(bytes() == expected);
            std::filesystem::remove(path());
        }
    }
}

TEST_F(GramFileResume, MakesDamagedTilesAnew) {
    const Matrix x = normals(17, 5, 1);
    const KernelBatch batch(cpu(), of_network({.up = true}, KernelOutput::trace), x);
    const GramFileOptions options{.tile = 5}, resume{.resume = true};
    const std::string expected = whole(batch, batch, options);
    const auto stop = [&] {
        GramFileOptions first = options;
        first.progress = stop_after(6);  // rows of tiles 0, 1 and 2: samples 0 to 14
        EXPECT_EQ(save(batch, first).done, 6);
        return folder_.read("K.npy.partial");
    };
    std::mt19937_64 random(3);
    for (int trial = 0; trial < 20; ++trial) {
        std::string data = stop();
        const std::size_t i = random() % 15, j = random() % 15, header = data.size() - 17 * 17 * 8;
        data[header + (i * 17 + j) * 8 + random() % 8] ^= static_cast<char>(1 << random() % 8);
        std::ignore = folder_.write("K.npy.partial", data);
        EXPECT_EQ(save(batch, resume).reused, 5) << i << ", " << j;
        EXPECT_TRUE(bytes() == expected);
    }
    std::string data = stop();
    data[3] = 'x';  // the header is written again
    std::ignore = folder_.write("K.npy.partial", data);
    EXPECT_EQ(save(batch, resume).reused, 6);
    EXPECT_TRUE(bytes() == expected);
    std::ignore = folder_.write("K.npy.partial", stop() + "more");
    EXPECT_EQ(save(batch, resume).reused, 6);
    EXPECT_TRUE(bytes() == expected);
    std::ignore = folder_.write("K.npy.partial", stop().substr(0, 700));  // rows 5 to 16 are gone
    EXPECT_EQ(save(batch, resume).reused, 0);
    EXPECT_TRUE(bytes() == expected);
    stop();
    std::filesystem::remove(folder_.path("K.npy.partial"));
    EXPECT_EQ(save(batch, resume).reused, 0);
    EXPECT_TRUE(bytes() == expected);
    stop();
    std::filesystem::remove(folder_.path("K.npy.progress"));
    EXPECT_EQ(save(batch, {.tile = 5, .resume = true}).reused, 0);
    EXPECT_TRUE(bytes() == expected);
}

TEST_F(GramFileResume, IgnoresATornRecord) {
    const Matrix x = normals(17, 5, 1);
    const KernelBatch batch(cpu(), of_network({.up = true}, KernelOutput::trace), x);
    const std::string expected = whole(batch, batch, {.tile = 5});
    std::ignore = save(batch, {.tile = 5, .progress = stop_after(4)});
    const std::string progress = folder_.read("K.npy.progress"), data = folder_.read("K.npy.partial");
    const std::size_t first = progress.find('\n') + 1;
    for (std::size_t length = first; length < progress.size(); ++length) {
        std::ignore = folder_.write("K.npy.progress", progress.substr(0, length));
        std::ignore = folder_.write("K.npy.partial", data);
        const auto begun =
            std::count(progress.begin(), progress.begin() + static_cast<std::ptrdiff_t>(length + 1),
                       '\n') -
            1;  // a line is whole without its end
        GramFileOptions one_more{.resume = true, .progress = stop_after(5)};
        const GramFileResult result = save(batch, one_more);
        EXPECT_EQ(result.reused, begun) << length;
        EXPECT_EQ(save(batch, {.resume = true}).reused, 5)
            << length;  // nothing was lost behind the torn line
        EXPECT_TRUE(bytes() == expected);
        std::filesystem::remove(path());
    }
    for (std::size_t at = first; at < progress.size(); ++at) {  // no altered record is believed
        std::string altered = progress;
        altered[at] = altered[at] == '1' ? '2' : '1';
        std::ignore = folder_.write("K.npy.progress", altered);
        std::ignore = folder_.write("K.npy.partial", data);
        EXPECT_LT(save(batch, {.resume = true}).reused, 4) << at;
        EXPECT_TRUE(bytes() == expected);
    }
    for (const std::string& bad :
         {std::string(), std::string("\n"), std::string("{}\n"), progress.substr(1), std::string("[3]\n"),
          std::string("{\"format\": 5,\"tile\":3}\n"),
          progress.substr(0, progress.find('\n') - 1) + ",\"more\":" + std::string(100'000, '[') +
              std::string(100'000, ']') + "}\n"}) {
        std::ignore = folder_.write("K.npy.progress", bad);
        expect_parts(error_of<IoError>([&] { std::ignore = save(batch, {.resume = true}); }),
                     {"K.npy.progress", "start anew"});
    }
}

TEST_F(GramFileResume, RefusesToGoOnWithAnotherMatrix) {
    const Matrix x = normals(17, 5, 1), y = normals(17, 5, 2), longer = normals(18, 5, 1);
    const KernelFunction f = of_network({.up = true}, KernelOutput::trace);
    const KernelBatch batch(cpu(), f, x), other(cpu(), f, y);
    std::ignore = save(batch, {.tile = 5, .progress = stop_after(3)});
    const std::string progress = folder_.read("K.npy.progress"), data = folder_.read("K.npy.partial");
    const auto refused = [&](const std::string& difference, const KernelBatch& rows,
                             const KernelBatch& cols, GramFileOptions options = {}) {
        options.resume = true;
        expect_parts(error_of<ValueError>([&] { std::ignore = save_gram(path(), rows, cols, options); }),
                     {"K.npy.progress", "begun with " + difference + " = ", "start anew"});
        EXPECT_EQ(folder_.names(), unfinished_);
        EXPECT_EQ(folder_.read("K.npy.progress"), progress);
        EXPECT_TRUE(folder_.read("K.npy.partial") == data);
    };
    const auto with = [&](const KernelFunction& function) { return KernelBatch(cpu(), function, x); };
    const auto refused_for = [&](const std::string& difference, const KernelFunction& function) {
        const KernelBatch rows = with(function);
        refused(difference, rows, rows);
    };
    const Network net = f.network();
    refused("inputs", other, other);
    const KernelBatch of_longer(cpu(), f, longer), again(cpu(), f, x);
    refused("rows", of_longer, of_longer);
    refused("cols", batch, of_longer);
    refused("symmetric", batch, again);
    refused("dtype", batch, batch, {.dtype = DType::f32});
    refused("tile", batch, batch, {.tile = 4});
    refused_for("kernel/spec/seed", of_network({.up = true}, KernelOutput::trace, DType::f64, 6));
    refused_for("kernel/spec/train", of_network({.down = true, .up = true}, KernelOutput::trace));
    refused_for("kernel/output", of_network({.up = true}, KernelOutput::sum_of_logits));
    refused_for("kernel/kind", KernelFunction::limit({}, {.up = true}, 5, DType::f64));
    refused_for("kernel/factors",
                KernelFunction::of_network(net.with_down(normals(4, 5, 8)), KernelOutput::trace));
    refused_for("kernel/factors",
                KernelFunction::of_network(net.with_up(std::make_shared<const Matrix>(normals(70, 4, 8))),
                                           KernelOutput::trace));
    refused_for("kernel/factors", KernelFunction::of_network(
                                      net.with_readout(std::make_shared<const Matrix>(normals(70, 3, 8))),
                                      KernelOutput::trace));
    expect_parts(error_of<MemoryError>([&] { std::ignore = save(batch, {.memory = 1, .resume = true}); }),
                 {"1 MiB"});
    EXPECT_EQ(folder_.read("K.npy.progress"), progress);
    EXPECT_EQ(save(batch, {.resume = true}).reused, 3);

    std::ignore = save_gram(path(), batch, other, {.tile = 5, .progress = stop_after(3)});
    expect_parts(
        error_of<ValueError>([&] { std::ignore = save_gram(path(), batch, again, {.resume = true}); }),
        {"begun with others = "});
}

}  // namespace
}  // namespace fntk
