// Scratch memory: aligned to 64 bytes, zeroed, counted by memory_use().
#pragma once

#include <fntk/matrix.hpp>

namespace fntk::backend {

template <class T>
class Aligned {
  public:
    Aligned() = default;
    explicit Aligned(std::int64_t count)
        : memory_(detail::allocate(count, static_cast<std::int64_t>(sizeof(T)))), count_(count) {}
    [[nodiscard]] T* data() { return reinterpret_cast<T*>(memory_.get()); }
    [[nodiscard]] const T* data() const { return reinterpret_cast<const T*>(memory_.get()); }
    [[nodiscard]] std::int64_t size() const { return count_; }
    T& operator[](std::int64_t i) { return data()[i]; }
    const T& operator[](std::int64_t i) const { return data()[i]; }

  private:
    detail::Buffer memory_;
    std::int64_t count_ = 0;
};

}  // namespace fntk::backend
