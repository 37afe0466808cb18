#include "host_block.hpp"

#include <bit>
#include <numeric>
#include <random>

namespace fntk::test {

HostGrid::HostGrid(HostBlock& block, int thread)
    : state_(block),
      block_index_(block.index()),
      blocks_(block.run().blocks),
      thread_(thread),
      threads_(block.run().launch.threads) {}

void HostGrid::wait_block(const Site& site) const { state_.wait_block(thread_, site); }
void HostGrid::wait_warp(const Site& site) const { state_.wait_warp(thread_, site, true); }
void HostGrid::raise(const std::string& what, const Site& site) const {
    state_.raise(thread_, "in " + text(site) + " " + what);
}
void* HostGrid::shared_array(const std::type_info& type, std::int64_t size, std::int64_t count,
                             const Site& site) {
    return state_.shared_array(thread_, type, size, count, site);
}

const HostGrid::Slot* HostGrid::show(const void* bytes, std::size_t size, const Site& site) {
    const Unwatched books;
    Slot* slots = state_.slots(thread_, shown_++);
    std::memcpy(slots[lane()].bytes, bytes, size);
    state_.wait_warp(thread_, site, false);
    return slots;
}

std::uint32_t HostGrid::ballot(bool b, int line, const char* file) {
    const Unwatched books;
    const Slot* slots = show(&b, sizeof(b), {"ballot", file, line});
    std::uint32_t bits = 0;
    for (int l = 0; l < warp_size; ++l) bits |= static_cast<std::uint32_t>(slots[l].bytes[0] & 1U) << l;
    return bits;
}

void HostGrid::begin_copy(void* to, const void* from, int bytes, std::size_t size, const Site& site) {
    const auto address = reinterpret_cast<std::uintptr_t>(to),
               source = reinterpret_cast<std::uintptr_t>(from);
    if (bytes < 0 || bytes > static_cast<int>(size) || address % size != 0 ||
        (bytes > 0 && source % size != 0))
        raise("copies " + std::to_string(bytes) + " bytes of " + std::to_string(size) +
                  ", or places that are not aligned to them",
              site);
    if (state_.address_of(to) == 0) raise("copies to what is no shared array", site);
    Copy copy{static_cast<unsigned char*>(to),
              static_cast<const unsigned char*>(from),
              bytes,
              static_cast<int>(size),
              site,
              copy_groups_};
    std::copy_n(copy.from, bytes, copy.values);
    for (std::size_t i = 0; i < size; i += 4) std::memcpy(copy.to + i, &uninitialised, 4);
    const Unwatched books;
    copies_.push_back(copy);
}

void HostGrid::complete_copies(int pending) {
    std::size_t done = 0;
    for (; done < copies_.size() && copies_[done].group < copy_groups_ - pending; ++done) {
        const Copy& copy = copies_[done];
        if (!std::equal(copy.values, copy.values + copy.bytes, copy.from))
            raise("copies what changes before its wait", copy.site);
        std::copy_n(copy.values, copy.size, copy.to);
    }
    const Unwatched books;
    copies_.erase(copies_.begin(), copies_.begin() + static_cast<std::ptrdiff_t>(done));
}

namespace {

/// A lane's registers in a product of matrices.
struct Fragments {
    std::uint32_t a[4], b[2];
};
Fragments fragments(const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    Fragments mine{};
    std::copy(a, a + 4, mine.a);
    std::copy(b, b + 2, mine.b);
    return mine;
}
std::uint32_t register_of(const unsigned char* bytes, int index) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes + 4 * static_cast<std::size_t>(index), sizeof(word));
    return word;
}

}  // namespace

// Element l of row i of A is in register i / 8 + 2·(l / half) of lane 4·(i % 8) + t, of column j of B in
// register 4 + l / half of lane 4j + t, t = l % half / (half / 4): the layout in kernels/grid.hpp.
void HostGrid::mma_s8(std::int32_t (&acc)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                      int line, const char* file) {
    const Fragments mine = fragments(a, b);
    const Unwatched books;
    const Slot* slots = show(&mine, sizeof(mine), {"mma_s8", file, line});
    std::int8_t rows[2][32], cols[2][32];
    for (int i = 0; i < 2; ++i)
        for (int t = 0; t < 4; ++t)
            for (int half = 0; half < 2; ++half) {
                const std::uint32_t of_a = register_of(slots[lane() / 4 * 4 + t].bytes, i + 2 * half);
                const std::uint32_t of_b = register_of(slots[4 * (lane() % 4 * 2 + i) + t].bytes, 4 + half);
                std::memcpy(rows[i] + 16 * half + 4 * t, &of_a, 4);
                std::memcpy(cols[i] + 16 * half + 4 * t, &of_b, 4);
            }
    for (int i = 0; i < 4; ++i) acc[i] += dot(rows[i / 2], cols[i % 2]);
}

void HostGrid::mma_b1(std::int32_t (&acc)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                      int line, const char* file) {
    const Fragments mine = fragments(a, b);
    const Unwatched books;
    const Slot* slots = show(&mine, sizeof(mine), {"mma_b1", file, line});
    std::uint64_t rows[2][4], cols[2][4];  // a register of either half
    for (int i = 0; i < 2; ++i)
        for (int t = 0; t < 4; ++t) {
            const unsigned char* of_row = slots[lane() / 4 * 4 + t].bytes;
            const unsigned char* of_col = slots[4 * (lane() % 4 * 2 + i) + t].bytes;
            rows[i][t] = register_of(of_row, i) | std::uint64_t{register_of(of_row, i + 2)} << 32;
            cols[i][t] = register_of(of_col, 4) | std::uint64_t{register_of(of_col, 5)} << 32;
        }
    for (int i = 0; i < 4; ++i)
        for (int t = 0; t < 4; ++t) acc[i] += std::popcount(rows[i / 2][t] & cols[i % 2][t]);
}

void run_launch(const kernels::Launch& launch, int max_threads, const HostOptions& options,
                const std::function<void(HostGrid&)>& body) {
    if (launch.blocks == 0) return;
    if (launch.blocks < 0 || launch.threads <= 0 || launch.threads % warp_size != 0 ||
        launch.threads > max_threads)
        throw KernelFault("launches " + std::to_string(launch.blocks) + " blocks of " +
                          std::to_string(launch.threads) + " threads, not whole warps of at most " +
                          std::to_string(max_threads));
    if (launch.shared_bytes < 0 || launch.shared_bytes > options.limits.shared_bytes_per_block)
        throw KernelFault("launches with " + std::to_string(launch.shared_bytes) + " shared bytes of " +
                          std::to_string(options.limits.shared_bytes_per_block));

    const std::int64_t blocks = options.blocks > 0 ? options.blocks : launch.blocks;
    Run run{.launch = launch, .blocks = blocks, .body = body, .order = std::vector<std::int64_t>(blocks)};
    std::iota(run.order.begin(), run.order.end(), std::int64_t{0});
    std::shuffle(run.order.begin(), run.order.end(), std::mt19937_64(options.order));

    Fibers fibers(options.order);
    std::vector<std::unique_ptr<HostBlock>> at_once;
    for (std::int64_t b = 0; b < std::min<std::int64_t>(options.blocks_at_once, blocks); ++b)
        at_once.push_back(std::make_unique<HostBlock>(run, fibers));
    do {
        fibers.run();
    } while (std::any_of(at_once.begin(), at_once.end(),
                         [](const auto& block) { return block->releases_sleepers(); }));
    if (!run.fault.empty()) throw KernelFault(run.fault);
}

}  // namespace fntk::test
