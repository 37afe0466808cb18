// The first thing a user does: draw a network, run the wide pass on data, take the Gram matrix of its
// tangent kernel.
#include <fntk/fntk.hpp>

#include <cstdio>

int main() {
    const std::int64_t n = 5, d = 12;
    fntk::Matrix data(n, d, fntk::DType::f32);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < d; ++j)
            data.at<float>(i, j) = static_cast<float>((7 * i + 3 * j) % 11) - 5.0F;

    const fntk::Device device = fntk::Device::open("cpu");
    const fntk::Network network = fntk::Network::create({.dim = d, .width = 256, .rank = 8, .seed = 1});
    const fntk::Tangent tangent = fntk::tangent(device, network, data);
    const fntk::Matrix gram = fntk::gram(tangent);
    for (std::int64_t i = 0; i < n; ++i) {
        if (!(gram.at<float>(i, i) > 0.0F)) {
            std::printf("K(%d, %d) = %g is not positive\n", static_cast<int>(i), static_cast<int>(i),
                        gram.at<float>(i, i));
            return 1;
        }
    }

    // Exceptions cross the library's border with their type.
    try {
        fntk::Device::open("no such device");
        return 1;
    } catch (const fntk::DeviceError& error) {
        std::printf("caught: %s\n", error.what());
    }
    std::printf("%d x %d Gram matrix, positive diagonal\n", static_cast<int>(gram.rows()),
                static_cast<int>(gram.cols()));
    return 0;
}
