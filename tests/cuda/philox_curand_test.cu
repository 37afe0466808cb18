// The random numbers of kernels/philox.hpp on a GPU, bit for bit: Philox4x32-10 against cuRAND's, as a
// bijection and as cuRAND's generator walks through it, and the normals of the device against the host's.
// Exits with 77, which ctest shows as skipped, where there is no GPU.
#include <philox.hpp>

#include <curand_kernel.h>
#include <thrust/device_vector.h>
#include <thrust/host_vector.h>
#include <thrust/transform.h>

#include <cstdio>
#include <cstring>
#include <random>

namespace {

using fntk::kernels::Normal4;
using fntk::kernels::Philox4;
using fntk::kernels::scheme_version;
using fntk::kernels::Stream;

constexpr int skipped = 77;

struct Question {
    Philox4 counter;
    std::uint32_t key[2];
};

struct OurBlock {
    __host__ __device__ Philox4 operator()(const Question& q) const {
        return fntk::kernels::philox4x32_10(q.counter, q.key[0], q.key[1]);
    }
};
struct CurandBlock {
    __device__ Philox4 operator()(const Question& q) const {
        const std::uint32_t* c = q.counter.word;
        const uint4 r =
            curand_Philox4x32_10(make_uint4(c[0], c[1], c[2], c[3]), make_uint2(q.key[0], q.key[1]));
        return {{r.x, r.y, r.z, r.w}};
    }
};

__host__ __device__ std::uint64_t seed_of(const Question& q) {
    return q.key[0] | static_cast<std::uint64_t>(q.key[1]) << 32;
}
/// Below 2^62: cuRAND counts words, four to a block, in 64 bits.
__host__ __device__ std::uint64_t block_of(const Question& q) {
    return q.counter.word[0] | static_cast<std::uint64_t>(q.counter.word[1] >> 2) << 32;
}

/// Block `block_of` of the stream `up`.
struct OurStream {
    __host__ __device__ Philox4 operator()(const Question& q) const {
        return fntk::kernels::random_block(seed_of(q), Stream::up, block_of(q));
    }
};
/// The same: cuRAND's subsequence is the upper half of the counter.
struct CurandStream {
    __device__ Philox4 operator()(const Question& q) const {
        curandStatePhilox4_32_10_t state;
        const auto subsequence =
            static_cast<std::uint64_t>(Stream::up) | static_cast<std::uint64_t>(scheme_version) << 32;
        curand_init(seed_of(q), subsequence, 4 * block_of(q), &state);
        const uint4 r = curand4(&state);
        return {{r.x, r.y, r.z, r.w}};
    }
};

struct Normals {
    __host__ __device__ Normal4 operator()(const Question& q) const {
        Normal4 out{};
        fntk::kernels::box_muller(q.counter.word[0], q.counter.word[1], out.value[0], out.value[1]);
        fntk::kernels::box_muller(q.counter.word[2], q.counter.word[3], out.value[2], out.value[3]);
        return out;
    }
};

/// Random ones, and before them every corner of the words.
thrust::host_vector<Question> questions() {
    constexpr std::uint32_t corners[] = {0, 1, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU};
    thrust::host_vector<Question> all;
    for (const std::uint32_t a : corners)
        for (const std::uint32_t b : corners)
            for (const std::uint32_t c : corners)
                for (const std::uint32_t d : corners)
                    for (const std::uint32_t key : corners) all.push_back({{{a, b, c, d}}, {key, ~key}});
    std::mt19937 random(1);
    const auto word = [&] { return static_cast<std::uint32_t>(random()); };
    for (int i = 0; i < 1 << 20; ++i) {
        Question q{};
        for (std::uint32_t& w : q.counter.word) w = word();
        for (std::uint32_t& w : q.key) w = word();
        all.push_back(q);
    }
    return all;
}

template <class Answer, class Function>
thrust::host_vector<Answer> on_device(const thrust::device_vector<Question>& asked, Function function) {
    thrust::device_vector<Answer> answers(asked.size());
    thrust::transform(asked.begin(), asked.end(), answers.begin(), function);
    return answers;
}
template <class Answer, class Function>
thrust::host_vector<Answer> on_host(const thrust::host_vector<Question>& asked, Function function) {
    thrust::host_vector<Answer> answers(asked.size());
    for (std::size_t i = 0; i < asked.size(); ++i) answers[i] = function(asked[i]);
    return answers;
}

/// Whether all answers have the same bytes; says how many have not, and which is the first.
template <class Answer>
bool same(const char* what, const thrust::host_vector<Answer>& have,
          const thrust::host_vector<Answer>& want) {
    std::size_t wrong = 0, first = 0;
    for (std::size_t i = want.size(); i-- > 0;)
        if (std::memcmp(&have[i], &want[i], sizeof(Answer)) != 0) ++wrong, first = i;
    if (wrong == 0)
        std::printf("ok      %s: %zu answers\n", what, want.size());
    else
        std::printf("FAILED  %s: %zu of %zu answers differ, the first is number %zu\n", what, wrong,
                    want.size(), first);
    return wrong == 0;
}

}  // namespace

int main() {
    int count = 0;
    if (const cudaError_t code = cudaGetDeviceCount(&count); code != cudaSuccess || count == 0) {
        std::printf("skipped: no GPU (%s)\n", cudaGetErrorString(code));
        return skipped;
    }
    const thrust::host_vector<Question> here = questions();
    const thrust::device_vector<Question> there = here;
    const auto blocks = on_host<Philox4>(here, OurBlock{});
    bool ok = same("philox4x32_10, device and host", on_device<Philox4>(there, OurBlock{}), blocks);
    ok &= same("philox4x32_10, cuRAND", on_device<Philox4>(there, CurandBlock{}), blocks);
    const auto streams = on_host<Philox4>(here, OurStream{});
    ok &= same("random_block, device and host", on_device<Philox4>(there, OurStream{}), streams);
    ok &= same("random_block, cuRAND's generator", on_device<Philox4>(there, CurandStream{}), streams);
    ok &= same("box_muller, device and host", on_device<Normal4>(there, Normals{}),
               on_host<Normal4>(here, Normals{}));
    return ok ? 0 : 1;
}
