// Which sanitizer a build has, and what ThreadSanitizer is told by the grid of the tests.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define FNTK_ADDRESS_SANITIZER 1
#elif defined(__SANITIZE_THREAD__)
#define FNTK_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FNTK_ADDRESS_SANITIZER 1
#elif __has_feature(thread_sanitizer)
#define FNTK_THREAD_SANITIZER 1
#endif
#endif

#ifdef FNTK_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FNTK_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace fntk::test {

#ifdef FNTK_THREAD_SANITIZER
/// All that came before publish(place) in one thread is before what follows observe(place) in another.
inline void publish(char* place) { __tsan_release(place); }
inline void observe(char* place) { __tsan_acquire(place); }

/// Its scope is the grid's own books, which threads keep together that nothing orders.
class Unwatched {
  public:
    Unwatched() {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    ~Unwatched() {
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
    Unwatched(const Unwatched&) = delete;
    Unwatched& operator=(const Unwatched&) = delete;
};
#else
inline void publish(char* /*place*/) {}
inline void observe(char* /*place*/) {}
struct Unwatched {
    Unwatched() {}  // not trivial: a guard that is never read is no unused variable
    ~Unwatched() {}
};
#endif

}  // namespace fntk::test
