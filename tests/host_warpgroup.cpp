// The operations of kernels/warpgroup.hpp on the grid of the tests.
#include "host_block.hpp"

#include <bit>
#include <functional>

namespace fntk::test {

namespace {

constexpr std::int32_t poison = static_cast<std::int32_t>(uninitialised);
/// What the threads of a block have together: whole eights of a multiprocessor's, each the same.
std::int64_t registers_of(std::int64_t threads) { return 65536 / threads / 8 * 8 * threads; }

/// The fields of a descriptor, in bytes.
struct Descriptor {
    std::uint32_t start, leading, stride;
    bool plain;  // no swizzle, no bit set beside the fields

    explicit Descriptor(std::uint64_t d)
        : start(field(d, 0)),
          leading(field(d, 16)),
          stride(field(d, 32)),
          plain((d & ~std::uint64_t{0x00003FFF3FFF3FFF}) == 0) {}
    [[nodiscard]] std::int64_t offset(int row, int l) const {
        return std::int64_t{row / 8} * stride + l / 16 * std::int64_t{leading} + 16 * (row % 8) + l % 16;
    }

  private:
    static std::uint32_t field(std::uint64_t d, int bit) {
        return static_cast<std::uint32_t>(d >> bit & 0x3FFFU) << 4;
    }
};

/// The 32 bytes of a row of a tile.
void take_row(const unsigned char* tile, const Descriptor& d, int row, std::int8_t* bytes) {
    for (int half = 0; half < 2; ++half)
        std::memcpy(bytes + 16 * half, tile + d.offset(row, 16 * half), 16);
}

/// Bits that both rows of 32 bytes have.
std::int32_t common_bits(const std::int8_t* x, const std::int8_t* y) {
    std::uint64_t of_x[4], of_y[4];
    std::memcpy(of_x, x, 32);
    std::memcpy(of_y, y, 32);
    std::int32_t count = 0;
    for (int l = 0; l < 4; ++l) count += std::popcount(of_x[l] & of_y[l]);
    return count;
}

bool within(const void* at, const void* begin, std::size_t bytes) {
    const auto a = reinterpret_cast<std::uintptr_t>(at), b = reinterpret_cast<std::uintptr_t>(begin);
    return a >= b && a < b + bytes;
}

}  // namespace

std::uint32_t HostGrid::shared_address(const void* p, int line, const char* file) const {
    const std::uint32_t address = state_.address_of(p);
    if (address == 0) raise("takes the address of what is no shared array", {"shared_address", file, line});
    return address;
}

void HostGrid::barrier_sync(int id, int threads, int line, const char* file) const {
    state_.come_to_named(id, threads, true, thread_, {"barrier_sync", file, line});
}

void HostGrid::barrier_arrive(int id, int threads, int line, const char* file) const {
    state_.come_to_named(id, threads, false, thread_, {"barrier_arrive", file, line});
}

void HostGrid::proxy_fence() const { state_.fence(); }

void HostGrid::have_registers(int count) const {
    if (const std::int64_t most = registers_of(threads_); state_.add_registers(count) > most)
        raise("asks for more than " + std::to_string(most) + " registers of a block",
              {"take_registers", "", 0});
}

/// The bytes that a descriptor leads to: `rows` rows, all in one shared array.
const unsigned char* HostGrid::tile(std::uint64_t descriptor, int rows, const Site& site) const {
    const Descriptor d(descriptor);
    if (!d.plain) raise("takes a descriptor with a swizzle or bits that mean nothing", site);
    const HostBlock::Place place = state_.place_of(d.start);
    const std::int64_t last = d.offset(rows - 1, 31);
    if (place.byte == nullptr || last >= place.room)
        raise("takes a descriptor that leads out of a shared array: " + std::to_string(last + 1) +
                  " bytes of " + std::to_string(place.room),
              site);
    return place.byte;
}

std::vector<std::int32_t> HostGrid::sum_of(const Product& product) {
    const int columns = 2 * product.count, warp_row = warp() % 4 * 16, group = lane() / 4, t = lane() % 4;
    const Descriptor of_a(product.a), of_b(product.b);
    const unsigned char* b = tile(product.b, columns, product.site);
    std::int8_t rows[2][32];
    if (product.a_registers == nullptr) {
        const unsigned char* a = tile(product.a, 64, product.site);
        for (int i = 0; i < 2; ++i) take_row(a, of_a, warp_row + group + 8 * i, rows[i]);
    } else {
        const Unwatched books;
        const Slot* slots = show(product.a_registers, 16, product.site);
        for (int i = 0; i < 2; ++i)
            for (int l = 0; l < 32; ++l) {
                const int byte = 4 * (i + l / 16 * 2) + l % 4;  // of register i + 2·(l / 16)
                rows[i][l] = static_cast<std::int8_t>(slots[4 * group + l % 16 / 4].bytes[byte]);
            }
    }
    std::vector<std::int32_t> sum(static_cast<std::size_t>(product.count));
    for (int j = 0; j < product.count; j += 4)
        for (int e = 0; e < 2; ++e) {
            std::int8_t column[32];
            take_row(b, of_b, 2 * j + 2 * t + e, column);
            for (int i = 0; i < 2; ++i)
                sum[static_cast<std::size_t>(j + 2 * i + e)] =
                    product.of_bits ? common_bits(rows[i], column) : dot(rows[i], column);
        }
    return sum;
}

void HostGrid::begin(Product product) {
    const Site& site = product.site;
    const auto chain = std::find_if(chains_.begin(), chains_.end(),
                                    [&](const Values& values) { return values.at == product.acc; });
    if (chain == chains_.end()) {
        if (!is_fenced(product.acc, product.count)) raise("takes accumulators that are not fenced", site);
        chains_.push_back({product.acc, {product.acc, product.acc + product.count}});
        std::fill_n(product.acc, product.count, poison);
    }
    if (product.a_registers != nullptr && !is_fenced(product.a_registers, 4))
        raise("takes registers of A that are not fenced", site);
    if (thread_ % kernels::warpgroup_size == 0)
        for (const auto& [descriptor, rows] :
             {std::pair{product.a, product.a_registers == nullptr ? 64 : 0},
              std::pair{product.b, 2 * product.count}}) {
            std::string bytes;
            for (int row = 0; row < rows; ++row) {
                std::int8_t of_row[32];
                take_row(tile(descriptor, rows, site), Descriptor(descriptor), row, of_row);
                bytes.append(reinterpret_cast<const char*>(of_row), 32);
            }
            if (rows > 0 &&
                !state_.is_visible(Descriptor(descriptor).start, std::hash<std::string>()(bytes)))
                raise("reads stores to shared memory without a proxy_fence", site);
        }
    product.sum = sum_of(product);
    product.group = groups_;
    products_.push_back(std::move(product));
}

void HostGrid::complete(int pending) {
    state_.let_others_run(thread_);
    std::size_t done = 0;
    for (; done < products_.size() && products_[done].group < groups_ - pending; ++done) {
        const Product& product = products_[done];
        if (sum_of(product) != product.sum) raise("has operands that change before its wait", product.site);
        const auto chain = std::find_if(chains_.begin(), chains_.end(),
                                        [&](const Values& values) { return values.at == product.acc; });
        for (int i = 0; i < product.count; ++i) {
            std::int32_t& value = chain->values[static_cast<std::size_t>(i)];
            const auto before = static_cast<std::uint32_t>(product.add ? value : 0);
            value = static_cast<std::int32_t>(
                before + static_cast<std::uint32_t>(product.sum[static_cast<std::size_t>(i)]));
        }
        const bool last =
            std::none_of(products_.begin() + static_cast<std::ptrdiff_t>(done) + 1, products_.end(),
                         [&](const Product& later) { return later.acc == product.acc; });
        if (!last) continue;
        if (!std::all_of(product.acc, product.acc + product.count,
                         [](std::int32_t entry) { return entry == poison; }))
            raise("has accumulators that are touched before its wait", product.site);
        std::copy(chain->values.begin(), chain->values.end(), product.acc);
        chains_.erase(chain);
        std::erase_if(fenced_, [&](const Values& values) {
            return within(product.acc, values.at, values.values.size() * 4);
        });
    }
    products_.erase(products_.begin(), products_.begin() + static_cast<std::ptrdiff_t>(done));
}

void HostGrid::fence(const void* registers, std::size_t bytes) {
    std::erase_if(fenced_, [&](const Values& values) { return values.at == registers; });
    std::vector<std::int32_t> values(bytes / 4);
    std::memcpy(values.data(), registers, bytes);
    fenced_.push_back({registers, std::move(values)});
}

bool HostGrid::is_fenced(const void* registers, int count) const {
    const std::size_t bytes = static_cast<std::size_t>(count) * 4;
    return std::any_of(fenced_.begin(), fenced_.end(), [&](const Values& values) {
        if (!within(registers, values.at, values.values.size() * 4)) return false;
        const auto offset = static_cast<const char*>(registers) - static_cast<const char*>(values.at);
        return std::memcmp(reinterpret_cast<const char*>(values.values.data()) + offset, registers,
                           bytes) == 0;
    });
}

void HostGrid::require_done(const void* registers, std::size_t bytes) const {
    for (const Product& product : products_)
        if (within(product.acc, registers, bytes) || within(product.a_registers, registers, bytes))
            raise("is still under way where its registers are waited for", product.site);
}

void HostGrid::require_nothing_under_way() const {
    if (!products_.empty()) raise("is never waited for", products_.front().site);
    if (!copies_.empty()) raise("is never waited for", copies_.front().site);
}

}  // namespace fntk::test
