// Environment variables for the length of a scope.
#pragma once

#include <stdlib.h>

#include <string>

namespace fntk::test {

/// Sets (or with nullptr removes) an environment variable for one scope.
class Environment {
  public:
    Environment(const char* name, const char* value) : name_(name) {
        if (const char* old = ::getenv(name)) had_ = true, old_ = old;
        set(value);
    }
    ~Environment() { set(had_ ? old_.c_str() : nullptr); }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

  private:
    void set(const char* value) const { value == nullptr ? ::unsetenv(name_) : ::setenv(name_, value, 1); }

    const char* name_;
    bool had_ = false;
    std::string old_;
};

}  // namespace fntk::test
